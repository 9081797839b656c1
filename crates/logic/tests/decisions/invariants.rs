//! The invariants of the design under random schedules, each by its name. Those that need no dice are in `writing`.

use std::time::Duration;

use lazyload_logic::state::Event;
use proptest::prelude::{ProptestConfig, any, proptest};
use serde_json::{Value, json};

use crate::schedule::{Dice, Schedule, Trouble, mk_calls, mk_objects, view};
use crate::world::World;

fn mk_entry(dice: &mut Dice) -> Value {
    json!({"general": {"autoFence": dice.below(4) > 0, "defaultFence": dice.below(2) == 0}})
}

/// A schedule of 400 steps, brought to its end.
fn played(seed: u64, trouble: Trouble) -> Schedule {
    let mut dice = Dice(seed);
    let (entry, objects, calls) = (mk_entry(&mut dice), mk_objects(&mut dice), mk_calls(&mut dice));
    let mut schedule = Schedule::new(entry, &objects, calls, dice, trouble);
    schedule.run(400);
    schedule.end();
    schedule
}

/// The same objects and calls without any surprise.
fn straight(seed: u64) -> World {
    let mut dice = Dice(seed);
    let (entry, objects, calls) = (mk_entry(&mut dice), mk_objects(&mut dice), mk_calls(&mut dice));
    let mut world = World::start(entry, &objects);
    for (caller, authority) in calls {
        world.call(&caller, &authority);
    }
    world.settle_within(Duration::from_secs(120));
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn order_of_events_does_not_matter(seed in any::<u64>()) {
        let played = played(seed, Trouble::default());
        assert_eq!(view(&played.world), view(&straight(seed)));
    }

    #[test]
    fn failures_and_lost_answers_change_nothing_in_the_end(seed in any::<u64>()) {
        let played = played(seed, Trouble { failures: true, ..Trouble::default() });
        assert_eq!(view(&played.world), view(&straight(seed)));
    }

    #[test]
    fn a_clock_that_jumps_loses_no_dependency(seed in any::<u64>()) {
        let played = played(seed, Trouble { clock: true, restarts: true, ..Trouble::default() });
        assert_eq!(view(&played.world), view(&straight(seed)));
    }

    #[test]
    fn a_restart_loses_no_dependency(seed in any::<u64>()) {
        let played = played(seed, Trouble { failures: true, restarts: true, ..Trouble::default() });
        assert_eq!(view(&played.world), view(&straight(seed)));
    }

    #[test]
    fn modes_and_break_glass_come_and_go_and_nothing_is_lost_by_them(seed in any::<u64>()) {
        let trouble = Trouble { failures: true, restarts: true, modes: true, ..Trouble::default() };
        let mut dice = Dice(seed);
        let (entry, objects, calls) = (mk_entry(&mut dice), mk_objects(&mut dice), mk_calls(&mut dice));
        let mut schedule = Schedule::new(entry, &objects, calls, dice, trouble);
        schedule.run(600);
        schedule.enforce_all();
        schedule.end();
        assert_eq!(view(&schedule.world), view(&straight(seed)));
    }

    #[test]
    fn who_waits_has_all_that_was_learned_once_the_waiting_is_over(seed in any::<u64>()) {
        let trouble = Trouble { failures: true, restarts: true, clock: true, ..Trouble::default() };
        let mut dice = Dice(seed);
        let (mut entry, objects, calls) = (mk_entry(&mut dice), mk_objects(&mut dice), mk_calls(&mut dice));
        entry["general"]["enforceAfter"] = json!("20s");
        let mut schedule = Schedule::new(entry, &objects, calls, dice, trouble);
        schedule.run(600);
        schedule.end();
        assert_eq!(view(&schedule.world), view(&straight(seed)));
    }

    #[test]
    fn plan_is_idempotent(seed in any::<u64>()) {
        let mut world = played(seed, Trouble { edits: true, ..Trouble::default() }).world;
        let before = world.cluster.writes.clone();
        world.on(Event::Heal);
        world.settle();
        world.list();
        world.settle();
        assert_eq!(world.cluster.writes, before, "at rest, and something was written");
        world.restart();
        world.settle();
        assert_eq!(world.cluster.writes, before, "all was known, and something was written after a restart");
    }

    // Each step of a schedule checks both of the following; see `Schedule::check`.

    #[test]
    fn a_host_never_leaves_a_sidecar_but_by_expiry_or_by_the_user(seed in any::<u64>()) {
        played(seed, Trouble { failures: true, restarts: true, edits: true, ..Trouble::default() });
    }

    #[test]
    fn fences_and_sidecars_not_ours_are_never_changed_or_deleted(seed in any::<u64>()) {
        played(seed, Trouble { failures: true, restarts: true, edits: true, ..Trouble::default() });
    }

    #[test]
    fn a_fence_keeps_at_most_one_alarm(seed in any::<u64>()) {
        let played = played(seed, Trouble { failures: true, edits: true, ..Trouble::default() });
        let text = format!("{:?}", played.world.state);
        let alarms = text.split(" alarms: ").nth(1).unwrap().split("waiting_calls").next().unwrap();
        assert!(alarms.matches("ObjectRef").count() <= 16, "{alarms}");
    }
}
