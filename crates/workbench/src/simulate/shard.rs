//! A shard: a process that lists every repository, takes its part of the tags, and has some images in
//! work at once. It knows nothing of the others.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Range;

use super::clock::Time;
use super::request::Kind;
use super::workload::{Blob, Workload};

/// One process.
#[derive(Debug)]
pub(super) struct Shard {
    index: u64,
    /// The repositories whose lists are read, the one in work first.
    pub(super) open: VecDeque<Lists>,
    /// The first repository that is not open yet.
    unopened: u64,
    pub(super) images: Vec<Image>,
    /// Places in `images` where there is none.
    pub(super) idle: Vec<u32>,
    /// Where blobs are, as far as this process knows.
    pub(super) known: HashSet<(u64, u64)>,
    /// Blobs that this process has brought to any repository.
    pub(super) brought: HashSet<u64>,
    /// Blobs on their way, with the images that wait for them.
    pub(super) moving: HashMap<u64, Vec<u32>>,
    /// Until when nothing is sent to the source.
    pub(super) paused: Time,
    /// Until when no manifest is asked for.
    pub(super) manifests_paused: Time,
    /// When the link has room again.
    link_free: Time,
    pub(super) costs: Costs,
}

/// What a shard has cost.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Costs {
    /// By [`Kind`].
    requests: [u64; Kind::COUNT],
    /// Bytes of blobs, on each side.
    pub(super) bytes: u64,
    /// When the last image was settled.
    pub(super) end: Time,
    /// How long images waited for limits, all together.
    pub(super) waited: Time,
}

/// The lists of a repository on both sides.
#[derive(Debug)]
pub(super) struct Lists {
    pub(super) repository: u64,
    /// The tags that nobody has looked at.
    left: Range<u64>,
    /// The tags before this one have come.
    listed: u64,
    /// Pages that the destination still has.
    pub(super) destination_pages: u64,
}

/// An image in work.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    pub(super) repository: u64,
    pub(super) tag: u64,
    /// Answers, or blobs, that are missing before it goes on.
    pub(super) missing: u32,
    /// Requests that wait for a limit.
    pub(super) waiting: u32,
    /// Since when.
    pub(super) since: Time,
}

impl Shard {
    pub(super) fn new(index: u64, parallel: usize) -> Self {
        let places = u32::try_from(parallel).unwrap_or(u32::MAX);
        Self {
            index,
            open: VecDeque::new(),
            unopened: 0,
            images: vec![Image::default(); parallel],
            idle: (0..places).rev().collect(),
            known: HashSet::new(),
            brought: HashSet::new(),
            moving: HashMap::new(),
            paused: 0,
            manifests_paused: 0,
            link_free: 0,
            costs: Costs::default(),
        }
    }

    /// Opens the next repository if there is room ahead, and returns its number.
    pub(super) fn open_next(&mut self, workload: &Workload, page: u64) -> Option<u64> {
        if self.open.len() > AHEAD || self.unopened >= workload.repositories() {
            return None;
        }
        let repository = self.unopened;
        self.unopened += 1;
        let left = workload.tags(repository);
        let there = left.clone().filter(|tag| !workload.is_new(*tag)).count() as u64;
        self.open.push_back(Lists {
            repository,
            listed: left.start,
            left,
            // An empty list, or none, is an answer, too.
            destination_pages: there.div_ceil(page).max(1),
        });
        Some(repository)
    }

    /// Returns the lists of a repository that is open.
    pub(super) fn lists(&mut self, repository: u64) -> Option<&mut Lists> {
        let first = self.open.front()?.repository;
        let place = usize::try_from(repository.checked_sub(first)?).ok()?;
        self.open.get_mut(place)
    }

    /// Returns the next image of this shard whose tag has come, with its repository.
    pub(super) fn take(&mut self, workload: &Workload) -> Option<(u64, u64)> {
        loop {
            let lists = self.open.front_mut()?;
            if lists.destination_pages > 0 {
                return None;
            }
            while lists.left.start < lists.listed {
                let tag = lists.left.start;
                lists.left.start += 1;
                if workload.shard(tag) == self.index {
                    return Some((lists.repository, tag));
                }
            }
            if !lists.left.is_empty() {
                return None;
            }
            self.open.pop_front();
        }
    }

    /// Has the link carry some bytes, after what it carries already, and returns when it has.
    pub(super) fn carry(&mut self, now: Time, takes: Time, bytes: u64) -> Time {
        self.costs.bytes += bytes;
        self.link_free = self.link_free.max(now) + takes;
        self.link_free
    }

    /// Decides what a blob needs.
    pub(super) fn claim(&mut self, slot: u32, blob: Blob) -> Claim {
        let Some(shared) = blob.shared else {
            return Claim::Ask;
        };
        let repository = self.images[slot as usize].repository;
        if self.known.contains(&(shared, repository)) {
            return Claim::Here;
        }
        if let Some(waiting) = self.moving.get_mut(&shared) {
            waiting.push(slot);
            return Claim::Wait;
        }
        self.moving.insert(shared, Vec::new());
        Claim::Ask
    }
}

/// What a blob needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// Nothing: it is there.
    Here,
    /// That another image brings it.
    Wait,
    /// A question.
    Ask,
}

impl Lists {
    /// Takes a page of the source's list, and returns whether there are more.
    pub(super) fn page(&mut self, page: u64) -> bool {
        self.listed = (self.listed + page).min(self.left.end);
        self.listed < self.left.end
    }
}

impl Costs {
    pub(super) const fn count(&mut self, kind: Kind) {
        self.requests[kind as usize] += 1;
    }

    /// Returns how many requests of a kind there were.
    pub(super) const fn of(&self, kind: Kind) -> u64 {
        self.requests[kind as usize]
    }

    /// Returns how many requests there were, refused ones among them.
    pub(super) fn all(&self) -> u64 {
        self.requests.iter().sum()
    }

    /// Adds what another shard has cost. Shards run at the same time.
    pub(super) fn add(&mut self, other: &Self) {
        for (sum, more) in self.requests.iter_mut().zip(other.requests) {
            *sum += more;
        }
        self.bytes += other.bytes;
        self.end = self.end.max(other.end);
        self.waited += other.waited;
    }
}

/// Of how many repositories the lists are read ahead.
const AHEAD: usize = 4;
