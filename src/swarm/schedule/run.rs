//! Which pieces, and how many of them in one transfer.

use std::ops::Range;

use crate::swarm::bits::{WORD, mask, touched};
use crate::swarm::policy::Swarm;
use crate::swarm::rules::Spent;
use crate::swarm::slab::Key;
use crate::swarm::state::{BLOCK, Choice, Member, Peer, RUN_ALONE_US};
use crate::swarm::types::*;

/// What is missing of a file goes to a peer alone in one run if it is no more than this, bytes.
const SMALL: u64 = 512 * 1024;
/// A run takes this long at the giver's rate, microseconds.
const RUN_US: u64 = 450_000;
/// Where somebody reads, whose turn is to come soon.
const RUN_BESIDE_READERS_US: u64 = 250_000;
/// And no longer than this at the taker's, if it comes from an origin that has others to serve.
const TAKER_RUN_US: u64 = 50_000;
/// Where so many transfers are to share a line, each gets a part of what may be under way there.
const SHARES: u64 = 4;
/// What TCP sends in the first two round trips of a transfer, about, bytes: it begins with ten segments (RFC 6928).
const WINDOW: u64 = 64 * 1024;
/// No run is longer than this part of what is still open.
const LAST: u32 = 8;
/// Who has this part of a file has begun.
const HAS_BEGUN: u64 = 64;

/// The piece with which a transfer is to begin.
#[derive(Debug, Clone, Copy)]
struct Begin {
    piece: u32,
    /// Whether a reader needs it soon.
    is_soon: bool,
    /// Whether the taker wants the file from front to back.
    in_order: bool,
}

impl Swarm {
    /// The pieces to send, given that `self.words` says what the taker needs; an origin has no `offer`, but all.
    pub(super) fn choose(
        &mut self,
        giver: Key<Peer>,
        offer: Option<Key<Member>>,
        taker: Key<Member>,
        now: Time,
    ) -> Option<Choice> {
        let begin = self.first_piece(offer, taker, now)?;
        let Begin { piece, is_soon, .. } = begin;
        let m = &self.state.members[taker];
        let file = &self.state.files[m.file];
        let is_spare = offer.is_none() && file.rarity.copies(piece) > 0;
        if is_spare && !is_soon {
            let is_frugal = file.rules.is_frugal(self.state.config.frugal);
            if self.state.is_kept_busy(m.peer) || is_frugal && self.is_left_to_peers(piece, taker, now) {
                return None;
            }
        }
        let run = self.run_from(begin, giver, offer, taker, now);
        let m = &self.state.members[taker];
        let file = &self.state.files[m.file];
        let again = m.repair().is_some_and(|repair| repair.contains(&piece));
        let reason = match () {
            () if is_soon => Reason::Deadline,
            () if again => Reason::Repair,
            () if !file.rules.peers => Reason::ServerOnly,
            () if file.rarity.copies(piece) == 0 => Reason::Origin,
            () if m.open <= file.pieces / 32 => Reason::Endgame,
            () if is_spare => Reason::Spare,
            () => Reason::Rarest,
        };
        Some((run, reason, 0))
    }

    /// The piece with which a transfer is to begin.
    fn first_piece(&mut self, offer: Option<Key<Member>>, taker: Key<Member>, now: Time) -> Option<Begin> {
        let state = &self.state;
        let m = &state.members[taker];
        let file = &state.files[m.file];
        let have = offer.map(|offer| &state.members[offer].have);
        let words = &self.words;
        let candidates = |index: usize| words[index] & have.map_or(u64::MAX, |have| have.word(index));

        let soon = m.reader().and_then(|reader| {
            // An origin is not to spend its line on what readers will get from peers in time.
            let range = match offer {
                Some(_) if m.have.contains(reader.position()) => reader.soon(now, file.piece_size),
                _ => reader.at_once(now, file.piece_size),
            };
            first(&range, candidates)
        });
        // While what it waits for is under way, nothing else is to share its line.
        let is_coming = |piece| m.flights.iter().any(|flight| flight.pieces.contains(&piece));
        let waits_for = m.reader().map(|reader| reader.position());
        if soon.is_none() && waits_for.is_some_and(|piece| !m.have.contains(piece) && is_coming(piece)) {
            return None;
        }
        let in_order = m.order == Order::Sequential && m.reader().is_none() || file.hungry.len() == 1;
        let piece = match soon {
            Some(piece) => piece,
            None if in_order => first(&(0..file.pieces), candidates)?,
            None => file.rarity.rarest(file.pieces, candidates, &mut self.dice)?,
        };
        Some(Begin { piece, is_soon: soon.is_some(), in_order })
    }

    /// The run to send that begins with a piece, or has it in it.
    fn run_from(
        &self,
        Begin { piece, is_soon, in_order }: Begin,
        giver: Key<Peer>,
        offer: Option<Key<Member>>,
        taker: Key<Member>,
        now: Time,
    ) -> Range<u32> {
        let state = &self.state;
        let m = &state.members[taker];
        let file = &state.files[m.file];
        let have = offer.map(|offer| &state.members[offer].have);
        let candidates = |index: usize| self.words[index] & have.map_or(u64::MAX, |have| have.word(index));
        let is_candidate = |piece: u32| candidates((piece / WORD) as usize) & (1 << (piece % WORD)) != 0;
        let class = file.rarity.class(piece);
        let longest = self.longest_run(giver, taker, now);
        let most = (state.config.max_run_bytes / u64::from(file.piece_size)) as u32;
        let longest = match state.is_alone(giver) {
            true => whole_blocks(piece, longest, most, file.pieces),
            false => longest,
        };
        // Neighbours of what is rarest, if there are enough to spread the rest of what is rare meanwhile.
        let any_class = self.is_carried_by_peers(giver, taker);
        let is_rare = |piece| any_class || file.rarity.class(piece) <= class;
        let fits = |piece: u32| piece < file.pieces && is_candidate(piece) && is_rare(piece);
        let mut run = piece..piece + 1;
        if !is_soon && !in_order {
            // Begin at a multiple of the length, so that runs leave no holes between them that are too small.
            while !run.start.is_multiple_of(longest) && fits(run.start - 1) {
                run.start -= 1;
            }
        }
        while (run.len() as u32) < longest && fits(run.end) {
            run.end += 1;
        }
        run
    }

    /// Whether it is peers from whom most of a file comes, as far as the line of one of them tells. Two get what is new in
    /// turns, and exchange it at once; and what a slow peer has promised, a fast origin could bring sooner.
    pub(in crate::swarm) fn is_carried_by_peers(&self, giver: Key<Peer>, taker: Key<Member>) -> bool {
        let state = &self.state;
        let m = &state.members[taker];
        let peer = if state.peers[giver].is_origin() { m.peer } else { giver };
        state.files[m.file].hungry.len() > 2 && state.peers_carry_more(peer)
    }

    /// How many pieces one transfer may bring.
    fn longest_run(&self, giver: Key<Peer>, taker: Key<Member>, now: Time) -> u32 {
        let state = &self.state;
        let m = &state.members[taker];
        let (from, to, file) = (&state.peers[giver], &state.peers[m.peer], &state.files[m.file]);
        if !from.info.runs || !to.info.runs {
            return 1;
        }
        // With nobody to exchange with there is nothing to be gained from parts, and each costs an order and a request.
        let is_only_taker = from.is_origin() && state.needy.len() == 1;
        let is_alone = state.is_alone(giver);
        if is_only_taker
            && file.rules.origin_rate.is_none()
            && u64::from(m.open) * u64::from(file.piece_size) <= SMALL
        {
            return m.open.max(1);
        }
        let budget = state.up_budget(giver);
        // Who has little yet is to have something to pass on soon, so several transfers share a line. Later, shorter ones
        // spread nothing faster, and each costs an order, a request and a word of its end.
        let has_begun = u64::from(m.open) * HAS_BEGUN <= u64::from(file.pieces) * (HAS_BEGUN - 1);
        // When peers have nothing that others lack, all wait for the origin. It has its line to itself only if several are served at once:
        // each receives from others, too, over a line that may be no faster.
        let is_waited_for = from.is_origin() && file.waits_for_news(now);
        let share = match has_begun && !is_waited_for && self.is_carried_by_peers(giver, taker) {
            // Where messages take long to come back, so do acknowledgements, as over an uplink that is full, and a new transfer is
            // slow for several round trips. A long one would keep the giver from being told anything else, and not fill its line.
            true => match from.up.rate().saturating_mul(to.down.lag_us()) / 1_000_000 / WINDOW {
                ..2 => u64::MAX,
                windows => budget / (windows + 1).min(SHARES),
            },
            // For a second at least, even if the line is taken for slower than it is.
            false if is_alone => 2 * budget,
            false if is_only_taker => budget,
            false => budget / SHARES,
        };
        let run_us = match () {
            () if !state.readers.is_empty() => RUN_BESIDE_READERS_US,
            () if is_alone => RUN_ALONE_US,
            () => RUN_US,
        };
        let by_rate = from.up.rate_or(budget, from.info.up_limit).saturating_mul(run_us) / 1_000_000;
        // Who serves many is to have time for all of them.
        let are_many = from.is_origin() && state.needy.len() > 1 && state.serves_many(giver);
        let by_taker = match () {
            // What the origin sent to others before says nothing of this one's line.
            () if is_only_taker => {
                to.down.rate_or(SMALL, to.info.down_limit).saturating_mul(RUN_ALONE_US) / 1_000_000
            }
            () if are_many && to.down.rate() > 0 => {
                to.down.rate().saturating_mul(TAKER_RUN_US * state.depth(giver).0) / 1_000_000
            }
            () => u64::MAX,
        };
        let bytes = by_rate.min(share).min(by_taker).min(state.config.max_run_bytes);
        let pieces = (bytes / u64::from(file.piece_size)) as u32;
        // Where several want the same, they should get different parts and exchange them.
        let apart =
            if file.hungry.len() > 1 { file.pieces / (4 * file.hungry.len() as u32) } else { u32::MAX };
        let paced = match file.rules.origin_rate {
            Some(shared) if from.is_origin() => Spent::longest(shared) / u64::from(file.piece_size).max(1),
            _ => u64::from(u32::MAX),
        } as u32;
        // The last pieces come one by one, from whoever is quickest.
        let last = match () {
            () if is_alone => 1,
            () if is_only_taker && state.origins.len() == 1 => 2,
            () => LAST,
        };
        let longest = pieces.min(paced).min(apart).min(m.open.div_ceil(last)).max(1);
        if is_alone {
            return longest;
        }
        // A power of two, so that parts of longer runs are as good to pass on in shorter ones.
        1 << longest.ilog2()
    }
}

/// About `longest` pieces from `first` on, but so many that they end with a block, or with the file if little more than that is left: a
/// short run at the end would be judged piece by piece, and need their hashes. No more than `most`.
fn whole_blocks(first: u32, longest: u32, most: u32, pieces: u32) -> u32 {
    if longest < 2 * BLOCK {
        return longest;
    }
    let nearest = first.saturating_add(longest).saturating_add(BLOCK / 2).min(first.saturating_add(most));
    let end = nearest / BLOCK * BLOCK;
    let is_rest_short = pieces.saturating_sub(end) <= BLOCK.max(longest / 4);
    if is_rest_short && pieces - first <= most { pieces - first } else { end - first }
}

/// The first candidate in a range.
pub(super) fn first(range: &Range<u32>, candidates: impl Fn(usize) -> u64) -> Option<u32> {
    touched(range).find_map(|index| {
        let word = candidates(index) & mask(range, index);
        (word != 0).then(|| index as u32 * WORD + word.trailing_zeros())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_for_one_who_is_alone_end_with_the_nearest_block() {
        for (first, longest, most, run) in [
            (0, 60, 256, 64),
            (0, 55, 256, 48),
            (2, 60, 256, 62),
            // Short ones stay as they are.
            (0, 31, 256, 31),
            // No more than may be under way.
            (0, 60, 63, 48),
            // What would be left of the file is not worth a run of its own.
            (448, 55, 256, 64),
            (432, 60, 256, 80),
            (432, 60, 79, 64),
        ] {
            assert_eq!(whole_blocks(first, longest, most, 512), run, "{first}, {longest}, {most}");
        }
    }
}
