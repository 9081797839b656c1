//! The command line: what can be asked of the binary, in the words of its users.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use lazyload_api::names;

/// On-demand service configuration for Istio meshes.
///
/// Each fenced workload gets a Sidecar with only the hosts that it calls. Unknown hosts are served through the global-sidecar, whose access
/// log tells the controller who called whom; the next call is direct.
#[derive(Debug, Parser)]
#[command(
    name = "lazyload",
    version,
    after_help = "Exit codes: 0 done; 1 something failed while running; 2 the command line, a file or the settings cannot be used."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The name under which kubectl finds the binary as its plugin.
const PLUGIN: &str = "kubectl-lazyload";

/// Reads the command line, or ends the process with what is wrong with it.
#[must_use]
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Cli {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let read = command(arguments.first().map(OsString::as_os_str)).try_get_matches_from(arguments);
    read.and_then(|matches| Cli::from_arg_matches(&matches)).unwrap_or_else(|error| error.exit())
}

/// The command line as its user types it, who called the binary by this name: its usage says `kubectl lazyload` to who came by kubectl.
#[must_use]
pub fn command(called: Option<&OsStr>) -> clap::Command {
    let command = Cli::command();
    if is_plugin(called) { command.bin_name("kubectl lazyload") } else { command }
}

/// The name that a shell completes for who called the binary by this one.
#[must_use]
pub fn completed_name(called: Option<&OsStr>) -> &'static str {
    if is_plugin(called) { PLUGIN } else { "lazyload" }
}

fn is_plugin(called: Option<&OsStr>) -> bool {
    called.and_then(|called| Path::new(called).file_stem()).is_some_and(|name| name == PLUGIN)
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch the cluster, learn from access logs, write ServiceFences and Sidecars.
    Controller(ControllerArgs),
    /// Watch SlimeBoots: install, change and remove what they say.
    Boot(BootArgs),
    /// Print the CRDs, the namespace and the operator, ready for `kubectl apply --server-side -f -`.
    InstallYaml(InstallArgs),
    /// Serve requests for hosts that a fenced workload does not know yet.
    #[command(after_help = GLOBAL_SIDECAR_HELP)]
    GlobalSidecar,
    /// Remove every SlimeBoot, and what it stands for, in the order that fails no request. CRDs, fences and the operator stay.
    Uninstall(UninstallArgs),
    /// Print the CRDs, ready for `kubectl apply --server-side -f -`.
    Crds(CrdsArgs),
    /// Print every object that a SlimeBoot stands for, as YAML.
    Render(RenderArgs),
    /// Tell how fences are doing: what each has learned, how its Sidecar stands, what is wrong.
    Status(StatusArgs),
    /// Tell why a workload sees a host, or does not, and what would change that.
    Explain(ExplainArgs),
    /// Tell what is wrong with fences and what they need, with what to do.
    Analyze(AnalyzeArgs),
    /// Tell whether an installation is as it must be to work: rights, versions, CRDs, conditions, access logs, proxies.
    Doctor(DoctorArgs),
    /// Tell what goes on through the global-sidecar: what is stuck there first, then the busiest.
    Top(TopArgs),
    /// Tell what each fence's Sidecar saves its proxies: clusters, endpoints and, as an estimate, memory.
    Savings(SavingsArgs),
    /// Tell who calls whom, as text or as a drawing.
    Graph(GraphArgs),
    /// Print fences with what they have learned, or Sidecars, as YAML to keep.
    Export(ExportArgs),
    /// Print the Sidecars that fences in mode observe or recommend would have, as YAML.
    Recommend(RecommendArgs),
    /// Take every Sidecar of fences away for now, of the mesh or of a namespace, without losing a request; and bring them back.
    BreakGlass(BreakGlassArgs),
    /// Make the controller forget what a fence has learned: hosts leave its Sidecar without losing a request.
    Reset(ResetArgs),
    /// Replay an access log: which ServiceFences and Sidecars would a mesh get?
    Simulate(SimulateArgs),
    /// Tell the seed's story without a cluster: first visit through the global-sidecar, second visit direct.
    Demo(DemoArgs),
    /// Print what lets a shell complete this command line.
    Completions(CompletionsArgs),
}

const GLOBAL_SIDECAR_HELP: &str = "\
Environment:
  PROBE_PORT                        health probes /healthz/live and /healthz/ready (18181; empty: none)
  LOG_LEVEL                         trace, debug, info, warn, error, fatal or panic (info)
  POD_NAMESPACE                     where the ConfigMap with the port list is (the pod's own namespace)
  WORMHOLE_PORTS                    PORT,PORT,…: a fixed port list instead of the ConfigMap
  DISABLE_SVC_CONTROLLER            true: watch no Services, take every short name for one of the caller's namespace
  WORMHOLE_PORT_PRIOR_TO_HOST_PORT  true: without Slime-Orig-Dest, dial the port on which the request came
  CLEAN_UP_WORMHOLE_PORT            true: close a port that is not listed any more; otherwise it keeps serving
  ACCESS_LOG                        true: one line for each request
  GUARD                             whom to believe and what to dial: full, destinations (headers of every peer) or off (no mesh) (full)
Cluster access: KUBECONFIG, or the service account when run in a pod. WORMHOLE_PORTS and DISABLE_SVC_CONTROLLER together need none.
Port 80 is served too if the system allows it. SIGTERM: not ready at once, accepts for 5 s more, requests in flight get 20 s after that.
Exit codes: 0 ended by a signal; 1 something failed while running; 2 the environment cannot be used.";

/// Arguments of `lazyload controller`.
#[derive(Debug, Args)]
#[command(after_help = "\
Cluster access: KUBECONFIG, or the service account when run in a pod.
Environment: POD_NAMESPACE or WATCH_NAMESPACE (namespace of the installation, default of global.slimeNamespace), POD_NAME (for
the log), LOG_LEVEL.
Listeners, from the settings: global.misc.logSourcePort (access logs, :8082), global.misc.aux-addr (health and metrics, :8081),
global.misc.metrics-addr (metrics, :8080), global.misc.console-addr (the console, 127.0.0.1:8083: kubectl port-forward reaches it).
Exit codes: 0 ended by a signal; 1 something failed while running; 2 the settings cannot be used.")]
pub struct ControllerArgs {
    /// Settings: one module entry of a SlimeBoot, as JSON or YAML. A missing default file means default settings.
    #[arg(long, value_name = "FILE", default_value = names::DEFAULT_CONFIG_PATH)]
    pub config: PathBuf,
}

/// Arguments of `lazyload boot`.
#[derive(Debug, Args)]
#[command(after_help = "\
Cluster access: KUBECONFIG, or the service account when run in a pod.
Environment: LOG_LEVEL (info).
Health at --listen: /modules/livez, /modules/readyz; log level: /log/slime.
Exit codes: 0 ended by a signal; 1 something failed while running; 2 the arguments cannot be used.")]
pub struct BootArgs {
    /// Where health is told.
    #[arg(long, value_name = "HOST:PORT", default_value = ":8081")]
    pub listen: String,
}

/// Arguments of `lazyload install-yaml`.
#[derive(Debug, Args)]
pub struct InstallArgs {
    /// Image of the operator.
    #[arg(long, default_value = concat!("docker.io/slimeio/slime-lazyload:v", env!("CARGO_PKG_VERSION")))]
    pub image: String,
    /// Where the operator runs.
    #[arg(long, default_value = names::DEFAULT_SLIME_NAMESPACE)]
    pub namespace: String,
}

/// Arguments of `lazyload uninstall`.
#[derive(Debug, Args)]
#[command(after_help = "\
In this order: the operator and the controllers are stopped; the Sidecars of fences import every service, proxies get 5 s to follow,
the Sidecars are deleted, and proxies get 5 s again; SlimeBoots are deleted; the operator is started again and removes what they stand for. Run again, it goes on where it was.
Cluster access: KUBECONFIG, or the service account when run in a pod. Environment: LOG_LEVEL (info).
Exit codes: 0 no SlimeBoot is left; 1 something failed, and the log says what was awaited; 2 the arguments cannot be used.")]
pub struct UninstallArgs {
    /// Where the operator runs.
    #[arg(long, default_value = names::DEFAULT_SLIME_NAMESPACE)]
    pub namespace: String,
    /// Longest that stopping and removing may each take.
    #[arg(long, value_name = "SECONDS", default_value_t = 180)]
    pub timeout: u64,
}

/// Arguments of `lazyload crds`.
#[derive(Debug, Args)]
pub struct CrdsArgs {
    /// Bring the CRDs of the cluster up to date instead (KUBECONFIG, or the service account when run in a pod).
    #[arg(long)]
    pub apply: bool,
}

/// Arguments of `lazyload render`.
#[derive(Debug, Args)]
pub struct RenderArgs {
    /// File with one SlimeBoot, as YAML or JSON; `-` for standard input.
    #[arg(short, long, value_name = "SLIMEBOOT.yaml")]
    pub file: PathBuf,
}

/// Arguments of `lazyload demo`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lazyload demo                                     the story, told and checked in a few seconds; leaves nothing behind
  lazyload demo --keep                              the same, then a folder, addresses and a page to play with, until Ctrl-C
  lazyload demo --mesh DIR                          which ServiceFences and Sidecars the YAML in DIR gives (DIR stays as it is)
  lazyload demo --mesh DIR --access-log proxy.log   the same after these calls: which Sidecars would I get?
  lazyload demo --mesh DIR --keep                   follow edits of DIR; everything produced goes to DIR/generated

A folder from a cluster, and a log to replay:
  kubectl get svc,pods,endpointslices,virtualservices,servicefences,ns -A -o yaml > DIR/cluster.yaml
  kubectl logs POD -c istio-proxy > proxy.log

No cluster and no root are needed. Controller, ledger, access-log server and forwarder are the real ones, in one process; apps, sidecar
proxies and the addresses of Services are simulated on loopback (127.42.x.y). Objects go to standard output, everything else to standard
error. Environment: NO_COLOR, LOG_LEVEL (warn).
Exit codes: 0 done; 1 the story did not come out, or something failed; 2 a file cannot be used: each problem is named by file, line and field.")]
pub struct DemoArgs {
    /// Leave everything running afterwards, with the folder to play with; end with Ctrl-C.
    #[arg(long, conflicts_with = "access_log")]
    pub keep: bool,
    /// Use the YAML of this folder (Services, Pods, VirtualServices, ServiceFences, SlimeBoot) instead of the built-in example.
    #[arg(long, value_name = "DIR")]
    pub mesh: Option<PathBuf>,
    /// Replay this access log (Envoy's text format as Istio writes it, or Istio's JSON) and print the Sidecars that would result.
    #[arg(long, value_name = "FILE", requires = "mesh")]
    pub access_log: Option<PathBuf>,
}

/// Arguments of `lazyload simulate`.
#[derive(Debug, Args)]
#[command(after_help = "\
The same as lazyload demo --mesh DIR --access-log FILE: objects go to standard output, what was learned and left out to standard error.
  kubectl get ns,svc,pods,endpointslices,virtualservices,servicefences -A -o yaml > DIR/cluster.yaml
  kubectl logs POD -c istio-proxy > proxy.log
  lazyload simulate --mesh DIR proxy.log > after.yaml")]
pub struct SimulateArgs {
    /// The YAML of the mesh; it stays as it is.
    #[arg(long, value_name = "DIR")]
    pub mesh: PathBuf,
    /// An access log: Envoy's text format as Istio writes it, or Istio's JSON.
    #[arg(value_name = "FILE")]
    pub access_log: PathBuf,
}

/// Where fences and Sidecars are asked for.
#[derive(Debug, Args)]
pub struct Source {
    /// Of this namespace only.
    #[arg(short, long)]
    pub namespace: Option<String>,
    /// Read the YAML of this folder instead of asking the cluster.
    #[arg(long, value_name = "DIR")]
    pub mesh: Option<PathBuf>,
}

/// Where all that the controller knows is asked for.
#[derive(Debug, Args)]
pub struct WorldSource {
    /// Where its objects are.
    #[command(flatten)]
    pub source: Source,
    /// The controller's settings, one module entry of a SlimeBoot, instead of those that are found.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

const SOURCE_HELP: &str = "\
Cluster access: KUBECONFIG, or the service account when run in a pod; it must be allowed to list servicefences and sidecars.
A folder from a cluster: kubectl get servicefences,sidecars -A -o yaml > DIR/cluster.yaml";

/// Arguments of `lazyload status`.
#[derive(Debug, Args)]
#[command(after_help = SOURCE_HELP)]
pub struct StatusArgs {
    /// One fence, NAME or NAMESPACE/NAME, with all that it depends on.
    pub workload: Option<String>,
    /// Where to ask.
    #[command(flatten)]
    pub source: Source,
    /// How it is printed.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// Arguments of `lazyload explain`.
#[derive(Debug, Args)]
#[command(after_help = EXPLAIN_HELP)]
pub struct ExplainArgs {
    /// A ServiceFence, a Service or a pod, NAME or NAMESPACE/NAME.
    pub workload: String,
    /// The host, as a client of the workload would write it; all that matter to it if there is none.
    pub host: Option<String>,
    /// Where to ask.
    #[command(flatten)]
    pub from: WorldSource,
    /// Ask the controller at this address, its auxiliary port, since when hosts are in scope, instead of all that run in the cluster.
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "mesh")]
    pub controller: Option<String>,
    /// How it is printed.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// Arguments of `lazyload analyze`.
#[derive(Debug, Args)]
#[command(after_help = ANALYZE_HELP)]
pub struct AnalyzeArgs {
    /// Where to ask.
    #[command(flatten)]
    pub from: WorldSource,
    /// How it is printed; wide adds what to do.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// Arguments of `lazyload doctor`.
#[derive(Debug, Args)]
#[command(after_help = DOCTOR_HELP)]
pub struct DoctorArgs {
    /// How it is printed; wide also tells what would let be asked what could not.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

const DOCTOR_HELP: &str = "\
Exit code 1 if a check failed. What could not be asked is not known, and fails nothing.
Needed: KUBECONFIG, with the rights to list what the controller lists, deployments, customresourcedefinitions, slimeboots and ConfigMaps, and to get
pods/proxy: controllers and proxies (port 15090) are asked by way of the API server.";

/// Arguments of `lazyload reset`.
#[derive(Debug, Args)]
#[command(after_help = "\
What the spec, policies or selectors bring in stays; what is called again is learned again. It tells what it is about to do, and asks.
Cluster access: KUBECONFIG, with the rights to list servicefences and sidecars and to get and patch servicefences. A controller must run.")]
pub struct ResetArgs {
    /// The ServiceFence, NAME or NAMESPACE/NAME.
    pub workload: String,
    /// Only these hosts; all that was learned if none is given.
    pub hosts: Vec<String>,
    /// Of this namespace.
    #[arg(short, long)]
    pub namespace: Option<String>,
    /// Only tell what would be forgotten.
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask.
    #[arg(short, long)]
    pub yes: bool,
    /// Longest that the controller may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub timeout: u64,
}

/// Arguments of `lazyload recommend`.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit code 1 if there is nothing to print. What a fence has learned is its status; a controller need not run.
It is what the controller will write in mode enforce: there is no need to apply it, and a Sidecar of yours would keep it out.")]
pub struct RecommendArgs {
    /// One fence, NAME or NAMESPACE/NAME, in any mode; all in mode observe or recommend if none is given.
    pub workload: Option<String>,
    /// Where to ask.
    #[command(flatten)]
    pub from: WorldSource,
}

/// Arguments of `lazyload break-glass`.
#[derive(Debug, Args)]
#[command(after_help = "\
It labels the Namespace of the controller (or NAMESPACE) lazyload.slime.io/break-glass=on, or takes the label away; kubectl label does the same. Specs stay
as they are, and learning goes on. A controller that does not run heeds it when it starts. Sidecars go in stages, and come back in stages.
Cluster access: KUBECONFIG, with the rights to patch namespaces, and to list deployments, servicefences and sidecars.
Exit code 1 if fences do not stand so in time.")]
pub struct BreakGlassArgs {
    /// What to do.
    #[arg(value_enum)]
    pub what: Glass,
    /// Only the fences of this namespace; of the whole mesh if none is given.
    #[arg(short, long)]
    pub namespace: Option<String>,
    /// The namespace of the controller, instead of those that are found.
    #[arg(long, value_name = "NAMESPACE", conflicts_with = "namespace")]
    pub controller: Option<String>,
    /// Longest to wait until fences stand so; 0: do not wait.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    pub timeout: u64,
}

/// What becomes of Sidecars.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Glass {
    /// They go.
    On,
    /// They come back.
    Off,
}

/// Arguments of `lazyload top`.
#[derive(Debug, Args)]
#[command(after_help = TOP_HELP)]
pub struct TopArgs {
    /// Of callers in this namespace only.
    #[arg(short, long)]
    pub namespace: Option<String>,
    /// Ask the controller at this address, its auxiliary port, instead of all that run in the cluster.
    #[arg(long, value_name = "HOST:PORT")]
    pub controller: Option<String>,
    /// So many at most.
    #[arg(long, default_value_t = 20)]
    pub limit: usize,
    /// How it is printed.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

const TOP_HELP: &str = "\
stuck: the Sidecar of the caller has the route for half a minute or longer, and it calls through the global-sidecar all the same.
Controllers are asked by way of the API server, with the rights to list deployments and pods and to get pods/proxy; or:
  kubectl port-forward -n mesh-operator deployment/lazyload 8081 & lazyload top --controller 127.0.0.1:8081";

/// Arguments of `lazyload savings`.
#[derive(Debug, Args)]
#[command(after_help = SAVINGS_HELP)]
pub struct SavingsArgs {
    /// Where to ask.
    #[command(flatten)]
    pub from: WorldSource,
    /// How it is printed; wide adds what each figure is based on.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

const SAVINGS_HELP: &str = "\
Clusters are counted from Services and ServiceEntries, one for each port. Memory is an estimate: 45 to 75 kB for a cluster and 0.25 kB for
an endpoint; version, threads and statistics of Envoy shift it by a factor of two. Services that would get a fence are told too.
Before installing: lazyload savings --mesh DIR [--config FILE]; no controller is needed.";

const ANALYZE_HELP: &str = "\
Exit code 1 if there is a finding of severity error. Codes never change their meaning.
It needs no controller: what is asked is what the API server, or the folder, has. Of a cluster PeerAuthentications are asked for too, if you may list them.";

const EXPLAIN_HELP: &str = "\
Exit code 1 if the workload's proxy has no route to HOST now.
Cluster access: KUBECONFIG, or the service account when run in a pod; it must be allowed to list what the controller lists, and ConfigMaps.
A folder from a cluster: kubectl get ns,svc,pods,endpointslices,servicefences,sidecars,virtualservices,serviceentries,slimeboots -A -o yaml > DIR/cluster.yaml";

/// How something is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// Columns for people.
    Table,
    /// More columns.
    Wide,
    /// For programs.
    Json,
    /// For programs and people.
    Yaml,
}

/// Arguments of `lazyload graph`.
#[derive(Debug, Args)]
#[command(after_help = SOURCE_HELP)]
pub struct GraphArgs {
    /// Where to ask.
    #[command(flatten)]
    pub source: Source,
    /// Language of the drawing.
    #[arg(short, long, value_enum, default_value_t = GraphOutput::Text)]
    pub output: GraphOutput,
}

/// Languages of a drawing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum GraphOutput {
    /// For people.
    Text,
    /// Graphviz.
    Dot,
    /// For Markdown.
    Mermaid,
    /// For programs: one object for each arrow.
    Json,
}

/// Arguments of `lazyload export`.
#[derive(Debug, Args)]
#[command(after_help = SOURCE_HELP)]
pub struct ExportArgs {
    /// What to print.
    #[arg(value_enum)]
    pub what: ExportedKind,
    /// Where to ask.
    #[command(flatten)]
    pub source: Source,
}

/// What can be exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ExportedKind {
    /// ServiceFences whose spec holds what was learned.
    Fences,
    /// Sidecars without owners, for a cluster without lazyload.
    Sidecars,
}

/// Arguments of `lazyload completions`.
#[derive(Debug, Args)]
#[command(after_help = "\
  bash   source <(lazyload completions bash)
  zsh    lazyload completions zsh > \"${fpath[1]}/_lazyload\"
  fish   lazyload completions fish > ~/.config/fish/completions/lazyload.fish
Called as kubectl-lazyload it completes that name; kubectl itself completes its plugins in another way.")]
pub struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    pub shell: CompletedShell,
}

/// Shells whose completions can be printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum CompletedShell {
    /// The Bourne-again shell.
    Bash,
    /// The Z shell.
    Zsh,
    /// The friendly interactive shell.
    Fish,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(called: &str) -> String {
        let mut command = command(Some(OsStr::new(called)));
        let error = command.try_get_matches_from_mut([called, "status", "--help"]).unwrap_err();
        error.to_string().lines().find(|line| line.starts_with("Usage: ")).unwrap().to_owned()
    }

    #[test]
    fn the_command_line_has_no_contradictions() {
        Cli::command().debug_assert();
    }

    #[test]
    fn who_came_by_kubectl_is_told_to_come_by_kubectl() {
        assert!(usage("/usr/local/bin/kubectl-lazyload").starts_with("Usage: kubectl lazyload status "));
        assert!(usage("lazyload").starts_with("Usage: lazyload status "));
    }

    /// Every `lazyload …` in the blocks of code of a page, without what the shell makes of its output.
    fn commands(page: &str) -> Vec<String> {
        let typed = page.lines().filter_map(|line| line.trim_start().strip_prefix("$ "));
        let typed = typed.filter_map(|line| line.split(" #").next());
        let parts = typed.flat_map(|line| line.split([';', '|', '>', '&'])).map(str::trim);
        parts.filter(|part| part.starts_with("lazyload ")).map(str::to_owned).collect()
    }

    #[test]
    fn every_command_that_the_documentation_shows_is_understood() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut understood = 0;
        for page in
            ["README.md", "docs/howto.md", "docs/operations.md", "docs/reference/cli.md", "docs/troubleshooting.md"]
        {
            let text = std::fs::read_to_string(root.join(page)).unwrap();
            for typed in commands(&text) {
                let read = command(None).try_get_matches_from(typed.split_whitespace());
                assert!(read.is_ok(), "{page}: {typed}: {}", read.unwrap_err());
                understood += 1;
            }
        }
        assert!(understood > 20, "{understood}");
    }
}
