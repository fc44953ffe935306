//! Lines and the flows on them: a fluid model. Every flow runs from one host's uplink to another's downlink, and lines
//! are shared max-min fairly (Bertsekas and Gallager, "Data Networks", section 6.5.2), as long-lived TCP connections
//! of similar round trips roughly do. Not modelled: slow start, loss, and bottlenecks in between.
//!
//! Rates are not computed anew for everybody whenever something changes. Each line has a *level*: what one of its flows
//! gets if nothing else holds it back, infinite while the line is not full. A flow runs at the lower of the levels of
//! its two lines, and a line is asked for its level again only when one of its flows came, went, or is held back
//! differently elsewhere. Where nothing is asked any more, the rates are the max-min fair ones; with a
//! [`tolerance`](Network::new), changes smaller than that are not passed on. A test compares with the textbook.
//!
//! Not responsible for what the bytes are.

use smallvec::SmallVec;

use super::agenda::Agenda;

/// A flow, numbered; numbers are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct FlowId(u32);

/// Lines asked anew for one change, per line that had changed: a bound for networks where levels converge slowly.
const MAX_ASKED: usize = 64;
/// So much short of a mark counts as there, bytes.
const ROUNDING: f64 = 0.5;

#[derive(Debug)]
struct Line {
    capacity: f64,
    /// What its flows could take as far as other lines go: the sum of the levels of those that have one, and how many of
    /// them have none.
    offered: f64,
    unlimited: u32,
    /// Uplinks only: the valid entry in [`Network::due`], and whether that has to be made anew.
    stamp: u32,
    is_touched: bool,
    is_asked: bool,
    flows: SmallVec<[u32; 4]>,
}

#[derive(Debug)]
struct Flow<T> {
    lines: [u32; 2],
    seats: [u32; 2],
    rate: f64,
    moved: f64,
    /// When `moved` was right, microseconds.
    at: u64,
    /// Bytes at which to stop and ask.
    mark: f64,
    /// What it is to those who began it; `None` when it is over.
    tag: Option<T>,
}

impl<T> Flow<T> {
    fn moved_at(&self, now: u64) -> f64 {
        self.moved + self.rate * (now - self.at) as f64 / 1e6
    }
}

/// All lines and flows.
#[derive(Debug)]
pub(super) struct Network<T> {
    /// Uplink and downlink of host 0, of host 1, …
    lines: Vec<Line>,
    /// Beside them, since those of many lines are looked at for each change of one.
    levels: Vec<f64>,
    flows: Vec<Flow<T>>,
    free: Vec<u32>,
    tolerance: f64,
    unsettled: u64,
    asked: Vec<u32>,
    touched: Vec<u32>,
    caps: Vec<f64>,
    /// When the first flow of an uplink reaches its mark: line, stamp.
    due: Agenda<(u32, u32)>,
}

impl<T: Copy> Network<T> {
    /// Hosts by what their lines carry up and down, bytes a second. A level that changes by less than the fraction
    /// `tolerance` is taken as unchanged.
    pub(super) fn new(hosts: impl Iterator<Item = (f64, f64)>, tolerance: f64) -> Self {
        let line = |capacity: f64| Line {
            capacity: capacity.max(1.0),
            offered: 0.0,
            unlimited: 0,
            stamp: 0,
            is_touched: false,
            is_asked: false,
            flows: SmallVec::new(),
        };
        let lines: Vec<_> = hosts.flat_map(|(up, down)| [line(up), line(down)]).collect();
        Self {
            levels: vec![f64::INFINITY; lines.len()],
            lines,
            flows: Vec::new(),
            free: Vec::new(),
            tolerance,
            unsettled: 0,
            asked: Vec::new(),
            touched: Vec::new(),
            caps: Vec::new(),
            due: Agenda::default(),
        }
    }

    /// A host's lines carry something else from now on.
    pub(super) fn set_capacity(&mut self, host: u32, up: f64, down: f64) {
        for (line, capacity) in [(2 * host, up), (2 * host + 1, down)] {
            self.lines[line as usize].capacity = capacity.max(1.0);
            self.ask(line);
        }
    }

    /// How often a line was not asked for its level although something had changed there, because that had been done for so
    /// many already.
    pub(super) fn unsettled(&self) -> u64 {
        self.unsettled
    }

    /// Bytes begin to move; [`reached`](Self::reached) tells when `mark` of them have.
    pub(super) fn begin(&mut self, from: u32, to: u32, mark: f64, now: u64, tag: T) -> FlowId {
        let lines = [2 * from, 2 * to + 1];
        let seats = lines.map(|line| self.lines[line as usize].flows.len() as u32);
        let flow = Flow { lines, seats, rate: 0.0, moved: 0.0, at: now, mark, tag: Some(tag) };
        let id = match self.free.pop() {
            Some(id) => {
                self.flows[id as usize] = flow;
                id
            }
            None => {
                self.flows.push(flow);
                self.flows.len() as u32 - 1
            }
        };
        for (line, other) in [(lines[0], lines[1]), (lines[1], lines[0])] {
            let level = self.levels[other as usize];
            let the_line = &mut self.lines[line as usize];
            the_line.flows.push(id);
            the_line.offer(level, 1.0);
            self.ask(line);
        }
        FlowId(id)
    }

    /// What was said of a flow when it began; `None` if it is over.
    pub(super) fn tag(&self, flow: FlowId) -> Option<T> {
        self.flows[flow.0 as usize].tag
    }

    /// Where a flow that has reached its mark is to stop next.
    pub(super) fn set_mark(&mut self, flow: FlowId, mark: f64) {
        self.flows[flow.0 as usize].mark = mark;
        self.touch(self.flows[flow.0 as usize].lines[0]);
    }

    /// A flow is over; the bytes it moved.
    pub(super) fn end(&mut self, flow: FlowId, now: u64) -> f64 {
        let Flow { lines, seats, .. } = self.flows[flow.0 as usize];
        let moved = self.flows[flow.0 as usize].moved_at(now);
        self.flows[flow.0 as usize].tag = None;
        for side in 0..2 {
            let level = self.levels[lines[1 - side] as usize];
            let line = &mut self.lines[lines[side] as usize];
            line.offer(level, -1.0);
            line.flows.swap_remove(seats[side] as usize);
            if let Some(&other) = line.flows.get(seats[side] as usize) {
                self.flows[other as usize].seats[side] = seats[side];
            }
            if line.flows.is_empty() {
                line.offered = 0.0;
            }
            self.ask(lines[side]);
        }
        self.touch(lines[0]);
        self.free.push(flow.0);
        moved
    }

    /// When the next flow reaches its mark, if any does.
    pub(super) fn next(&mut self, now: u64) -> Option<u64> {
        self.settle(now);
        while let Some((at, &(line, stamp))) = self.due.peek() {
            if self.lines[line as usize].stamp == stamp {
                return Some(at.max(now));
            }
            self.due.pop();
        }
        None
    }

    /// Flows that have reached their marks by `now`, which is not after what [`next`](Self::next) said. Each is to be
    /// given a new mark or to be ended.
    pub(super) fn reached(&mut self, now: u64, out: &mut Vec<FlowId>) {
        out.clear();
        while let Some((at, &(line, stamp))) = self.due.peek() {
            let is_valid = self.lines[line as usize].stamp == stamp;
            if is_valid && at > now {
                return;
            }
            self.due.pop();
            if is_valid {
                let flows = &self.lines[line as usize].flows;
                let there = |&&id: &&u32| {
                    let flow = &self.flows[id as usize];
                    flow.moved_at(now) + ROUNDING >= flow.mark
                };
                out.extend(flows.iter().filter(there).map(|&id| FlowId(id)));
                self.touch(line);
            }
        }
    }

    fn ask(&mut self, line: u32) {
        if !std::mem::replace(&mut self.lines[line as usize].is_asked, true) {
            self.asked.push(line);
        }
    }

    fn touch(&mut self, line: u32) {
        if !std::mem::replace(&mut self.lines[line as usize].is_touched, true) {
            self.touched.push(line);
        }
    }

    /// Makes rates and dues right again.
    fn settle(&mut self, now: u64) {
        let mut left = self.asked.len() * MAX_ASKED + 1000;
        let mut next = 0;
        while let Some(&line) = self.asked.get(next) {
            next += 1;
            self.lines[line as usize].is_asked = false;
            if left > 0 {
                left -= 1;
                self.ask_for_level(line, now);
            } else {
                self.unsettled += 1;
            }
            if next == self.asked.len() {
                self.asked.clear();
                next = 0;
            }
        }
        while let Some(line) = self.touched.pop() {
            let the_line = &mut self.lines[line as usize];
            the_line.is_touched = false;
            the_line.stamp = the_line.stamp.wrapping_add(1);
            let due = |&id: &u32| {
                let flow = &self.flows[id as usize];
                let micros = ((flow.mark - flow.moved) / flow.rate * 1e6).ceil().max(0.0);
                (flow.rate > 0.0).then(|| (flow.at + micros as u64).max(now))
            };
            let first = self.lines[line as usize].flows.iter().filter_map(due).min();
            if let Some(at) = first {
                self.due.push(at, (line, self.lines[line as usize].stamp));
            }
        }
    }

    /// Fills a line: flows held back elsewhere get what they can take, the others share the rest.
    fn ask_for_level(&mut self, line: u32, now: u64) {
        let (the_line, old) = (&self.lines[line as usize], self.levels[line as usize]);
        // Its flows get what their other lines give them, as before; those lines have been asked, or will be.
        if old.is_infinite() && the_line.has_room() && line % 2 == 1 {
            return;
        }
        let other = |id: u32| {
            let [up, down] = self.flows[id as usize].lines;
            if up == line { down } else { up }
        };
        self.caps.clear();
        self.caps.extend(the_line.flows.iter().map(|&id| self.levels[other(id) as usize]));
        let capacity = the_line.capacity;
        let level = if self.caps.iter().sum::<f64>() <= capacity {
            f64::INFINITY
        } else {
            self.caps.sort_unstable_by(f64::total_cmp);
            let (mut left, mut sharers) = (capacity, self.caps.len() as f64);
            for &cap in &self.caps {
                if cap * sharers >= left {
                    break;
                }
                left -= cap;
                sharers -= 1.0;
            }
            left / sharers
        };
        let changed =
            (level - old).abs() > self.tolerance * old.min(level) || level.is_finite() != old.is_finite();
        if changed {
            self.levels[line as usize] = level;
        }
        let level = if changed { level } else { old };
        for seat in 0..self.lines[line as usize].flows.len() {
            let id = self.lines[line as usize].flows[seat];
            let flow = &mut self.flows[id as usize];
            let [up, down] = flow.lines;
            let other = if up == line { down } else { up };
            let its_level = self.levels[other as usize];
            let rate = level.min(its_level);
            if rate != flow.rate && rate.is_finite() {
                flow.moved = flow.moved_at(now);
                flow.at = now;
                flow.rate = rate;
                self.touch(up);
            }
            if changed {
                let the_other = &mut self.lines[other as usize];
                the_other.offer(old, -1.0);
                the_other.offer(level, 1.0);
                // Nothing becomes of it where there was room and still is.
                if its_level.is_infinite() && the_other.has_room() && rate.is_finite() {
                    continue;
                }
            }
            // Whether the other line sees this flow held back differently than before.
            if changed && (old < its_level || level < its_level) || !rate.is_finite() {
                self.ask(other);
            }
        }
    }
}

impl Line {
    /// One of its flows could take so much more or less, as far as its other line goes.
    fn offer(&mut self, level: f64, sign: f64) {
        if level.is_finite() {
            self.offered += sign * level;
        } else {
            self.unlimited = self.unlimited.wrapping_add_signed(sign as i32);
        }
    }

    /// Whether it is surely not full: by more than what many sums may have been rounded by.
    fn has_room(&self) -> bool {
        self.unlimited == 0 && self.offered < self.capacity * (1.0 - 1e-6)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The textbook: the most crowded line is shared out first, over and over.
    fn max_min(lines: &[f64], flows: &[[usize; 2]]) -> Vec<f64> {
        let mut left = lines.to_vec();
        let mut rates = vec![0.0; flows.len()];
        let mut open: Vec<usize> = (0..flows.len()).collect();
        while !open.is_empty() {
            let users = |line: usize| open.iter().filter(|&&flow| flows[flow].contains(&line)).count() as f64;
            let share = |line: usize| left[line] / users(line);
            let crowded = (0..lines.len()).filter(|&line| users(line) > 0.0);
            let worst = crowded.min_by(|&a, &b| share(a).total_cmp(&share(b))).unwrap();
            let rate = share(worst);
            open.retain(|&flow| {
                let stays = !flows[flow].contains(&worst);
                if !stays {
                    rates[flow] = rate;
                    flows[flow].iter().for_each(|&line| left[line] -= rate);
                }
                stays
            });
        }
        rates
    }

    proptest! {
        #[test]
        fn rates_are_max_min_fair(
            hosts in prop::collection::vec((1u32..200, 1u32..200), 2..12),
            flows in prop::collection::vec((0usize..12, 0usize..12, 0u8..4), 1..60),
        ) {
            let count = hosts.len();
            let lines = hosts.iter().map(|&(up, down)| (f64::from(up) * 1000.0, f64::from(down) * 1000.0));
            let mut network = Network::new(lines.clone(), 1e-9);
            let lines: Vec<f64> = lines.flat_map(|(up, down)| [up, down]).collect();
            let mut open: Vec<(FlowId, [usize; 2])> = Vec::new();
            for (step, &(from, to, end)) in flows.iter().enumerate() {
                let (from, to) = (from % count, to % count);
                open.push((network.begin(from as u32, to as u32, 1e12, step as u64, ()), [2 * from, 2 * to + 1]));
                if end == 0 {
                    network.end(open.swap_remove(step % open.len()).0, step as u64);
                }
                network.next(step as u64);
            }
            let ends: Vec<[usize; 2]> = open.iter().map(|flow| flow.1).collect();
            for (rate, (id, _)) in max_min(&lines, &ends).into_iter().zip(&open) {
                let found = network.flows[id.0 as usize].rate;
                prop_assert!((found - rate).abs() <= 1e-4 * rate, "{found} and not {rate}");
            }
        }
    }

    #[test]
    fn marks_are_reached_when_they_should() {
        let mut network = Network::new([(1000.0, 1000.0), (1000.0, 500.0)].into_iter(), 0.0);
        let flow = network.begin(0, 1, 1000.0, 0, ());
        assert_eq!(network.next(0), Some(2_000_000));
        let second = network.begin(0, 1, 250.0, 1_000_000, ());
        assert_eq!(network.next(1_000_000), Some(2_000_000));
        let mut there = Vec::new();
        network.reached(2_000_000, &mut there);
        assert_eq!(there, [second]);
        assert_eq!(network.end(second, 2_000_000), 250.0);
        assert_eq!(network.next(2_000_000), Some(2_500_000));
        network.reached(2_500_000, &mut there);
        assert_eq!(there, [flow]);
        network.set_mark(flow, 1500.0);
        assert_eq!(network.next(2_500_000), Some(3_500_000));
        assert_eq!(network.end(flow, 3_500_000), 1500.0);
    }
}
