//! The schema of `status.conditions`; the type is Kubernetes' own (`metav1.Condition`).
//! Source: Kubernetes API conventions, "Typical status properties".

use schemars::{Schema, SchemaGenerator, json_schema};

/// A list of conditions with one entry for each type.
pub(crate) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": {"type": "string", "maxLength": 316, "description": "What it is about."},
                "status": {"type": "string", "enum": ["True", "False", "Unknown"], "description": "Whether it holds."},
                "reason": {"type": "string", "minLength": 1, "maxLength": 1024, "description": "Why, in one word."},
                "message": {"type": "string", "maxLength": 32768, "description": "Which object, what was expected, what to do."},
                "observedGeneration": {
                    "type": "integer", "format": "int64", "minimum": 0, "description": "The metadata.generation that it was decided on.",
                },
                "lastTransitionTime": {
                    "type": "string", "format": "date-time", "description": "When status became what it is.",
                },
            },
        },
    })
}
