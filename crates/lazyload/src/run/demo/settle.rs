//! The controller's decisions without its loop: one change after the other on a clock that jumps, for questions that are answered once.

use std::time::Duration;

use lazyload_logic::observation::Call;
use lazyload_logic::settings::Settings;
use lazyload_logic::state::{Event, State};
use lazyload_logic::types::{Kind, Now};

use crate::apply::folder::FolderWriter;
use crate::folder::Folder;
use crate::process::clock::Clock;

/// How far the clock may jump for one answer: past the pauses between writes, short of deadlines and graces that users set.
const PATIENCE: Duration = Duration::from_secs(5);

/// A controller that is asked, not run.
pub struct Desk {
    state: State,
    folder: Folder,
    writer: FolderWriter,
    now: Now,
}

impl Desk {
    /// A controller that has read the folder and written everything that follows. The second value: settings that were left out.
    pub fn open(folder: &Folder, settings: Settings) -> (Self, Vec<String>) {
        let (state, problems) = State::new(settings);
        let writer = FolderWriter::new(folder.clone());
        let mut desk = Self { state, folder: folder.clone(), writer, now: Clock::start().now() };
        desk.hear();
        for kind in Kind::ALL {
            desk.state.on(Event::Listed(kind), desk.now);
        }
        desk.settle();
        (desk, problems)
    }

    /// What is known.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Takes in a call.
    pub fn called(&mut self, call: Call) {
        self.state.on(Event::Called(vec![call]), self.now);
    }

    /// Writes until there is nothing more to write.
    pub fn settle(&mut self) {
        let end = self.now.monotonic + PATIENCE;
        loop {
            let changes = self.state.plan(self.now);
            if changes.is_empty() {
                match self.state.next_alarm().filter(|at| *at <= end) {
                    Some(at) => self.now.monotonic = self.now.monotonic.max(at),
                    None => return,
                }
            }
            for change in changes {
                let outcome = self.writer.write(&change);
                self.state.on(Event::Finished { id: change.id().clone(), outcome }, self.now);
            }
            self.hear();
        }
    }

    fn hear(&mut self) {
        for event in self.folder.take_events() {
            self.state.on(event, self.now);
        }
    }
}
