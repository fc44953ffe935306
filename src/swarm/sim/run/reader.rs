//! Hosts that read a file from front to back while it comes, as a player does.

use super::*;

/// What a reader asks for ahead of where it is, and after how much it asks for more, bytes.
const STREAM_WINDOW: u64 = 64 << 20;
const STREAM_STEP: u64 = STREAM_WINDOW / 8;
/// Pieces that a reader waits for before it begins.
const BUFFER: u32 = 2;

#[derive(Debug)]
pub(super) struct Reader {
    /// The piece that is being played, or waited for.
    at: u32,
    is_playing: bool,
    waits_since: u64,
    asked: u32,
    /// Where it was when it last asked.
    asked_at: u64,
}

impl Reader {
    /// One that waits for its first pieces from now on.
    pub(super) fn new(now: u64) -> Self {
        Self { at: 0, is_playing: false, waits_since: now, asked: 0, asked_at: 0 }
    }
}

impl<L: FnMut(&Swarm, &Command, Time)> World<'_, L> {
    /// A reader asks for what lies ahead, if it has come far enough.
    pub(super) fn read_on(&mut self, id: u32, after: u64) {
        let Wants::Stream { file, .. } = self.host(id).wants else { return };
        let spec = self.file(file);
        let Some(reader) = &mut self.states[id as usize].reader else { return };
        let at = spec.offset(reader.at);
        let until = (at + STREAM_WINDOW).min(spec.size).div_ceil(u64::from(spec.piece_size)) as u32;
        if reader.asked > 0 && (reader.asked >= until || at < reader.asked_at + STREAM_STEP) {
            return;
        }
        let pieces = reader.asked..until;
        let window = Some(reader.at..until);
        (reader.asked, reader.asked_at) = (until, at);
        let (peer, file, order) = (PeerId(id), FileId(file), Order::Sequential);
        self.tell(id, after, Event::Request { peer, file, pieces, order, window });
    }

    /// A reader has come to the end of a piece.
    pub(super) fn played(&mut self, id: u32) {
        let Some(reader) = &mut self.states[id as usize].reader else { return };
        reader.is_playing = false;
        reader.at += 1;
        reader.waits_since = self.now;
        self.read_on(id, 0);
        self.play_on(id, 0);
    }

    /// A reader begins the next piece, if it is there and the last one is over. What came last needs `hop` to get there.
    pub(super) fn play_on(&mut self, id: u32, hop: u64) {
        let Wants::Stream { file, rate } = self.host(id).wants else { return };
        let spec = self.file(file);
        let now = self.now;
        let Some(reader) = &mut self.states[id as usize].reader else { return };
        let outcome = &mut self.outcome.hosts[id as usize];
        if reader.is_playing {
            // A piece is over only when its time has come; arrivals meanwhile change nothing.
            return;
        }
        if reader.at == spec.pieces() {
            if outcome.done.is_none() {
                self.done(id, now);
            }
            return;
        }
        let has = |piece| self.has.get(&(id, file)).is_some_and(|pieces| pieces.contains(piece));
        // Players fill a buffer before they begin.
        let first =
            if outcome.started.is_none() { (reader.at + BUFFER).min(spec.pieces()) } else { reader.at + 1 };
        if !(reader.at..first).all(has) {
            return;
        }
        if outcome.started.is_none() {
            outcome.started = Some(now + hop - outcome.arrived);
        } else {
            outcome.waited(reader.waits_since, now);
        }
        reader.is_playing = true;
        let bytes = spec.offset(reader.at + 1) - spec.offset(reader.at);
        self.plan(now + (bytes as f64 / rate * 1e6) as u64, Happening::Play(id));
    }

    /// A reader goes, or the run is over. If it waits for something just then, it has waited for that, too.
    pub(super) fn stop_reading(&mut self, id: u32) {
        let Wants::Stream { file, .. } = self.host(id).wants else { return };
        let Some(reader) = self.states[id as usize].reader.take() else { return };
        let outcome = &mut self.outcome.hosts[id as usize];
        let is_waiting = !reader.is_playing && reader.at < self.setup.files[file as usize].pieces();
        if is_waiting && outcome.started.is_some() {
            outcome.waited(reader.waits_since, self.now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{MBIT, MIB};
    use super::*;

    /// The only giver's line breaks down after five seconds, and the run ends after thirty.
    #[test]
    fn readers_that_starve_are_told_of() {
        let giver = Host {
            has_all: true,
            wants: Wants::Nothing,
            changes: Some((5 * SECOND, 0.0, 0.0)),
            ..Host::peer(20.0 * MBIT, MBIT)
        };
        let reader =
            Host { wants: Wants::Stream { file: 0, rate: 4.0 * MBIT }, ..Host::peer(0.0, 50.0 * MBIT) };
        let hosts = vec![
            giver,
            // Has some of it when the giver fails, and waits until the end.
            reader.clone(),
            // The same, and it goes.
            Host { leaves: Some(25 * SECOND), ..reader.clone() },
            // Comes too late for anything.
            Host { arrives: 6 * SECOND, ..reader.clone() },
            // Goes, without a word, before it can be said to have waited for long.
            Host { arrives: 6 * SECOND, vanishes: Some(7 * SECOND), ..reader.clone() },
            // Is not here before the end.
            Host { arrives: 40 * SECOND, ..reader },
        ];
        let mut setup = Setup::new(1, hosts, vec![FileSpec::of(32 * MIB)]);
        setup.until = 30 * SECOND;
        let outcome = run(&setup);
        let stalls: Vec<u32> = outcome.hosts.iter().map(|host| host.stalls).collect();
        assert_eq!(stalls, [0, 1, 1, 0, 0, 0], "{outcome:?}");
        // 12 MB came at most, of which each had half: 12 s to play.
        let waited = |id: usize, least| {
            (least * SECOND..least * SECOND + 12 * SECOND).contains(&outcome.hosts[id].stalled)
        };
        assert!(waited(1, 13) && waited(2, 8), "{outcome:?}");
        let summary = outcome.summary(&setup);
        assert_eq!((summary.stalled_readers, summary.unstarted_readers), (2, 1), "{summary:?}");
        assert_eq!(summary.slowest_start, 24.0, "{summary:?}");
    }
}
