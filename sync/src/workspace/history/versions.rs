//! Which versions a document has: changes of one author in one sitting together, joins where two laptops wrote at once.
//!
//! Pure: knows hashes, authors and times, and no text. The order, and so each version's number, is the same on every
//! device that has the same changes. Start at [`versions`].

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};

use automerge::ChangeHash;

use crate::id::{DeviceId, to_hex};

/// Edits of one device that follow each other within so many seconds are one sitting,
const SITTING_GAP_S: i64 = 10 * 60;
/// which lasts this long at most.
const SITTING_S: i64 = 60 * 60;
/// More joins than these in one sitting: two people typed at the same time, connected. That is one version.
const LIVE_JOINS: usize = 4;
/// In a history with more versions than these,
const MANY: usize = 200;
/// states that were saved within so many seconds of each other are one version: no person saves so quickly.
const SAVED_GAP_S: i64 = 3;

/// A document as it was at some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Counted from 1, oldest first. Changes that arrive later may move it; `id` stays.
    pub number: usize,
    /// Eight digits that name it for people.
    pub id: String,
    /// Names it: hashes of the changes that led to it.
    pub heads: Vec<ChangeHash>,
    /// Numbers of the versions that it was made from; more than one for a join.
    pub from: Vec<usize>,
    /// Who made it; `None` stands for what was written before the workspace was shared.
    pub authors: Vec<Option<DeviceId>>,
    /// How it came about.
    pub how: How,
    /// When it was begun, in milliseconds since 1970 by its author's clock; `None` where it was not noted.
    pub since_ms: Option<i64>,
    /// When it was finished.
    pub at_ms: Option<i64>,
}

/// How a version came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Somebody wrote it.
    Written,
    /// Versions of several devices were joined; nobody wrote anything.
    Joined,
    /// Several devices wrote at the same time, while connected.
    Together,
}

/// What a change says of itself.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) hash: ChangeHash,
    pub(super) deps: Vec<ChangeHash>,
    pub(super) author: Option<DeviceId>,
    /// Seconds since 1970; 0 where no time was noted.
    pub(super) at_s: i64,
    /// A whole state that somebody saved: an import, something brought back.
    pub(super) saved: bool,
}

/// A version on its way, with the numbers of those before it as indices.
#[derive(Debug, Clone)]
struct Node {
    heads: Vec<ChangeHash>,
    parents: Vec<usize>,
    authors: BTreeSet<Option<DeviceId>>,
    how: How,
    since_s: Option<i64>,
    at_s: Option<i64>,
    saved: bool,
}

/// The versions, oldest first. Takes time in proportion to the number of changes.
pub(super) fn versions(steps: &[Step]) -> Vec<Version> {
    let order = in_order(steps);
    let mut nodes = nodes(steps, &order, None);
    if nodes.len() > MANY {
        nodes = self::nodes(steps, &order, Some(SAVED_GAP_S));
    }
    let nodes = live_together(nodes);
    let version = |(index, node): (usize, Node)| Version {
        number: index + 1,
        id: name_of(&node.heads),
        heads: node.heads,
        from: node.parents.iter().map(|parent| parent + 1).collect(),
        authors: node.authors.into_iter().collect(),
        how: node.how,
        since_ms: node.since_s.map(|at| at * 1000),
        at_ms: node.at_s.map(|at| at * 1000),
    };
    nodes.into_iter().enumerate().map(version).collect()
}

/// The first eight digits of BLAKE3 of the heads.
fn name_of(heads: &[ChangeHash]) -> String {
    let mut hasher = blake3::Hasher::new();
    for head in heads {
        hasher.update(&head.0);
    }
    to_hex(&hasher.finalize().as_bytes()[..4])
}

/// Every change after those that it builds on; among the rest, by time and hash.
fn in_order(steps: &[Step]) -> Vec<usize> {
    let place: HashMap<ChangeHash, usize> = steps
        .iter()
        .enumerate()
        .map(|(index, step)| (step.hash, index))
        .collect();
    let known = |step: &Step| -> Vec<usize> {
        let deps = step.deps.iter();
        deps.filter_map(|dep| place.get(dep).copied()).collect()
    };
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); steps.len()];
    let mut missing: Vec<usize> = Vec::with_capacity(steps.len());
    for (index, step) in steps.iter().enumerate() {
        let deps = known(step);
        missing.push(deps.len());
        for dep in deps {
            children[dep].push(index);
        }
    }
    // A clock that goes back, or a change without a time, does not put a change before its cause.
    let mut times: Vec<i64> = steps.iter().map(|step| step.at_s).collect();
    let mut ready: BinaryHeap<Reverse<(i64, ChangeHash, usize)>> = (0..steps.len())
        .filter(|index| missing[*index] == 0)
        .map(|index| Reverse((times[index], steps[index].hash, index)))
        .collect();
    let mut order = Vec::with_capacity(steps.len());
    while let Some(Reverse((time, _, index))) = ready.pop() {
        order.push(index);
        for child in &children[index] {
            times[*child] = times[*child].max(time);
            missing[*child] -= 1;
            if missing[*child] == 0 {
                ready.push(Reverse((times[*child], steps[*child].hash, *child)));
            }
        }
    }
    order
}

/// Puts changes together that one author made in one sitting. `saved_gap_s`: see [`SAVED_GAP_S`].
fn nodes(steps: &[Step], order: &[usize], saved_gap_s: Option<i64>) -> Vec<Node> {
    let mut children: HashMap<ChangeHash, usize> = HashMap::with_capacity(steps.len());
    for dep in steps.iter().flat_map(|step| &step.deps) {
        *children.entry(*dep).or_default() += 1;
    }
    let mut nodes = Nodes::default();
    for step in order.iter().map(|index| &steps[*index]) {
        if let [dep] = step.deps.as_slice()
            && children.get(dep) == Some(&1)
            && let Some(before) = nodes.of_change.get(dep).copied()
            && nodes.all[before].takes(step, saved_gap_s)
        {
            nodes.all[before].take(step);
            nodes.of_change.insert(step.hash, before);
            continue;
        }
        let parents = match step.deps.as_slice() {
            [] => Vec::new(),
            [dep] => nodes.of_change.get(dep).copied().into_iter().collect(),
            several => vec![nodes.joined(several)],
        };
        nodes.of_change.insert(step.hash, nodes.all.len());
        nodes.all.push(Node::new(step, parents));
    }
    let mut heads: Vec<ChangeHash> = steps
        .iter()
        .map(|step| step.hash)
        .filter(|hash| !children.contains_key(hash))
        .collect();
    heads.sort_unstable();
    if heads.len() > 1 {
        nodes.joined(&heads);
    }
    nodes.all
}

#[derive(Default)]
struct Nodes {
    all: Vec<Node>,
    of_change: HashMap<ChangeHash, usize>,
    joins: HashMap<Vec<ChangeHash>, usize>,
}

impl Nodes {
    /// The point where several changes met.
    fn joined(&mut self, tips: &[ChangeHash]) -> usize {
        let mut heads = tips.to_vec();
        heads.sort_unstable();
        if let Some(known) = self.joins.get(&heads) {
            return *known;
        }
        let known = |tip: &ChangeHash| self.of_change.get(tip).copied();
        let parents: BTreeSet<usize> = heads.iter().filter_map(known).collect();
        let latest = parents.iter().filter_map(|parent| self.all[*parent].at_s);
        let at_s = latest.max();
        self.all.push(Node {
            heads: heads.clone(),
            parents: parents.into_iter().collect(),
            authors: BTreeSet::new(),
            how: How::Joined,
            since_s: at_s,
            at_s,
            saved: false,
        });
        self.joins.insert(heads, self.all.len() - 1);
        self.all.len() - 1
    }
}

impl Node {
    fn new(step: &Step, parents: Vec<usize>) -> Self {
        let at_s = (step.at_s > 0).then_some(step.at_s);
        Self {
            heads: vec![step.hash],
            parents,
            authors: BTreeSet::from([step.author]),
            how: How::Written,
            since_s: at_s,
            at_s,
            saved: step.saved,
        }
    }

    /// Whether a change that follows this belongs to it.
    fn takes(&self, step: &Step, saved_gap_s: Option<i64>) -> bool {
        if self.how != How::Written || !self.authors.contains(&step.author) {
            return false;
        }
        if step.at_s <= 0 {
            // A record beside the text that was noted without a time.
            return true;
        }
        let (Some(since), Some(last)) = (self.since_s, self.at_s) else {
            return false;
        };
        let gap = (step.at_s - last).abs();
        if self.saved || step.saved {
            return saved_gap_s.is_some_and(|most| gap <= most);
        }
        gap <= SITTING_GAP_S && step.at_s - since <= SITTING_S
    }

    fn take(&mut self, step: &Step) {
        self.heads = vec![step.hash];
        if step.at_s > 0 {
            self.at_s = Some(step.at_s);
        }
    }
}

/// Makes one version of a stretch in which two devices typed at the same time and were joined again and again.
fn live_together(nodes: Vec<Node>) -> Vec<Node> {
    let mut stretches: Vec<(usize, usize)> = Vec::new();
    let mut start = 0;
    for end in 1..=nodes.len() {
        let goes_on = end < nodes.len() && is_near(&nodes[end - 1], &nodes[end]);
        if !goes_on {
            stretches.extend(live_part(&nodes, start, end));
            start = end;
        }
    }
    if stretches.is_empty() {
        return nodes;
    }
    let mut kept: Vec<Node> = Vec::with_capacity(nodes.len());
    let mut moved: Vec<usize> = Vec::with_capacity(nodes.len());
    let mut stretches = stretches.into_iter().peekable();
    for index in 0..nodes.len() {
        match stretches.peek() {
            Some((first, last)) if (*first..=*last).contains(&index) => {
                if index == *last {
                    kept.push(together(&nodes, *first, *last, &moved));
                }
                let within = kept.len() - usize::from(index == *last);
                moved.push(within);
                if index == *last {
                    stretches.next();
                }
            }
            _ => {
                let mut node = nodes[index].clone();
                let parents = node.parents.iter().map(|parent| moved[*parent]);
                let parents: BTreeSet<usize> = parents.collect();
                node.parents = parents.into_iter().collect();
                moved.push(kept.len());
                kept.push(node);
            }
        }
    }
    kept
}

fn is_near(before: &Node, after: &Node) -> bool {
    let gap = before.at_s.zip(after.since_s).map(|(a, b)| (b - a).abs());
    !before.saved && !after.saved && gap.is_some_and(|gap| gap <= SITTING_GAP_S)
}

/// The part of a sitting from where it first parted to where it was last joined, if that happened often.
fn live_part(nodes: &[Node], start: usize, end: usize) -> Option<(usize, usize)> {
    let joins: Vec<usize> = (start..end)
        .filter(|index| nodes[*index].how == How::Joined)
        .collect();
    if joins.len() <= LIVE_JOINS {
        return None;
    }
    let (first, last) = (*joins.first()?, *joins.last()?);
    let parted = nodes[first].parents.iter().min().copied().unwrap_or(first);
    Some((parted.max(start), last))
}

fn together(nodes: &[Node], first: usize, last: usize, moved: &[usize]) -> Node {
    let within = &nodes[first..=last];
    let parents = within.iter().flat_map(|node| &node.parents);
    let parents: BTreeSet<usize> = parents
        .filter(|parent| **parent < first)
        .map(|parent| moved[*parent])
        .collect();
    let mut has_child = vec![false; last + 1];
    for parent in nodes[..=last].iter().flat_map(|node| &node.parents) {
        has_child[*parent] = true;
    }
    let tips = nodes[..=last].iter().zip(&has_child);
    let heads: BTreeSet<ChangeHash> = tips
        .filter(|(_, has_child)| !**has_child)
        .flat_map(|(node, _)| node.heads.iter().copied())
        .collect();
    Node {
        heads: heads.into_iter().collect(),
        parents: parents.into_iter().collect(),
        authors: within
            .iter()
            .flat_map(|node| node.authors.iter().copied())
            .collect(),
        how: How::Together,
        since_s: within.iter().filter_map(|node| node.since_s).min(),
        at_s: within.iter().filter_map(|node| node.at_s).max(),
        saved: false,
    }
}

/// A point where versions of different devices met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meeting {
    /// Number of the joined version.
    pub joined: usize,
    /// Numbers of the last versions that both sides knew; none where there was nothing in common.
    pub base: Vec<usize>,
    /// What each side did since.
    pub sides: Vec<Side>,
}

/// One side of a [`Meeting`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// Number of the version that it had come to.
    pub version: usize,
    /// Whose it is.
    pub devices: Vec<DeviceId>,
    /// When it was begun, in milliseconds since 1970 by the device's clock.
    pub since_ms: Option<i64>,
    /// When it was finished.
    pub at_ms: Option<i64>,
}

/// Where versions of different devices met, newest first.
///
/// Takes time in proportion to what lies between parting and meeting.
pub(crate) fn meetings(versions: &[Version]) -> Vec<Meeting> {
    let joins = versions.iter().rev();
    joins
        .filter(|version| version.how == How::Joined && version.from.len() > 1)
        .filter_map(|join| meeting(versions, join))
        .collect()
}

fn meeting(versions: &[Version], join: &Version) -> Option<Meeting> {
    // A bit for each side; more than 64 never meet in one point.
    let sides: Vec<usize> = join.from.iter().copied().take(64).collect();
    let all = if sides.len() == 64 {
        u64::MAX
    } else {
        (1 << sides.len()) - 1
    };
    let mut marks: HashMap<usize, u64> = HashMap::new();
    let mut queue: BTreeSet<usize> = BTreeSet::new();
    for (bit, side) in sides.iter().enumerate() {
        *marks.entry(*side).or_default() |= 1 << bit;
        queue.insert(*side);
    }
    let mut base: BTreeSet<usize> = BTreeSet::new();
    let mut of_side: Vec<Vec<usize>> = vec![Vec::new(); sides.len()];
    // From the newest on: all that leads to a version was seen when its turn comes.
    while let Some(number) = queue.pop_last() {
        let mark = marks[&number];
        if mark == all {
            base.insert(number);
            continue;
        }
        for (bit, found) in of_side.iter_mut().enumerate() {
            if mark & (1 << bit) != 0 {
                found.push(number);
            }
        }
        for parent in &versions[number - 1].from {
            *marks.entry(*parent).or_default() |= mark;
            queue.insert(*parent);
        }
    }
    let side = |(version, numbers): (usize, &Vec<usize>)| {
        let made = || numbers.iter().map(|number| &versions[number - 1]);
        let devices: BTreeSet<DeviceId> = made()
            .flat_map(|version| version.authors.iter().flatten().copied())
            .collect();
        Side {
            version,
            devices: devices.into_iter().collect(),
            since_ms: made().filter_map(|version| version.since_ms).min(),
            at_ms: made().filter_map(|version| version.at_ms).max(),
        }
    };
    let sides: Vec<Side> = sides.into_iter().zip(&of_side).map(side).collect();
    let devices: BTreeSet<DeviceId> = sides
        .iter()
        .flat_map(|side| side.devices.iter().copied())
        .collect();
    let all_known = sides.iter().all(|side| !side.devices.is_empty());
    (all_known && devices.len() > 1).then(|| Meeting {
        joined: join.number,
        base: base.into_iter().collect(),
        sides,
    })
}

#[cfg(test)]
mod tests;
