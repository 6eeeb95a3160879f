//! Both registries and all shards: what happens, in the order of time.

use std::collections::HashSet;

use super::arguments::Arguments;
use super::clock::{Clock, SECOND, Time};
use super::limit::Limit;
use super::request::{Kind, Request};
use super::shard::{Claim, Costs, Shard};
use super::workload::{Blob, Workload};

/// Everything there is.
#[derive(Debug)]
pub(super) struct World {
    workload: Workload,
    page: u64,
    rtt: Time,
    /// Bits per second; 0: no limit.
    bandwidth: f64,
    clock: Clock<Event>,
    rate: Option<Limit>,
    manifests: Option<Limit>,
    /// Which shared blobs are in which repositories of the destination.
    placed: HashSet<(u64, u64)>,
    shards: Vec<Shard>,
}

/// Who has sent a request.
#[derive(Clone, Copy, Debug)]
struct Asker {
    shard: u32,
    part: Part,
}

#[derive(Clone, Copy, Debug)]
enum Part {
    /// The lists of this repository.
    Lists(u64),
    /// The image in this place.
    Image(u32),
}

#[derive(Clone, Copy, Debug)]
enum Event {
    /// A request is sent.
    Ask(Asker, Request),
    /// A request that had to wait is sent.
    AskAgain(Asker, Request),
    /// The answer has come.
    Answer(Asker, Request),
}

impl World {
    /// Plays a mirror to its end and returns what each shard has cost.
    pub(super) fn play(arguments: &Arguments) -> Vec<Costs> {
        let mut world = Self::new(arguments);
        world.begin();
        while let Some(event) = world.clock.next() {
            world.happen(event);
        }
        world.shards.into_iter().map(|shard| shard.costs).collect()
    }

    fn begin(&mut self) {
        for shard in 0..self.shards.len() {
            self.go_on(u32::try_from(shard).unwrap_or(u32::MAX));
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Ask(asker, request) => self.ask(asker, request),
            Event::AskAgain(asker, request) => {
                self.waited(asker);
                self.ask(asker, request);
            }
            Event::Answer(asker, request) => self.answer(asker, request),
        }
    }

    fn new(arguments: &Arguments) -> Self {
        let shard = |index| Shard::new(index, arguments.parallel);
        Self {
            workload: Workload::new(arguments),
            page: arguments.page,
            rtt: arguments.rtt,
            bandwidth: arguments.bandwidth_mbit * 1e6,
            clock: Clock::new(),
            rate: arguments.rate.map(|count| Limit::new(count, SECOND)),
            manifests: arguments
                .manifest_limit
                .map(|(count, window)| Limit::new(count, window)),
            placed: HashSet::new(),
            shards: (0..arguments.shards as u64).map(shard).collect(),
        }
    }

    fn shard(&mut self, asker: Asker) -> &mut Shard {
        &mut self.shards[asker.shard as usize]
    }

    /// Opens lists and starts images while there is room.
    fn go_on(&mut self, index: u32) {
        loop {
            let shard = &mut self.shards[index as usize];
            if let Some(repository) = shard.open_next(&self.workload, self.page) {
                let asker = Asker {
                    shard: index,
                    part: Part::Lists(repository),
                };
                self.ask(asker, Request::DestinationPage);
                self.ask(asker, Request::SourcePage);
                continue;
            }
            let opened = shard.open.len();
            let Some(slot) = shard.idle.pop() else { return };
            if let Some((repository, tag)) = shard.take(&self.workload) {
                self.start(index, slot, repository, tag);
                continue;
            }
            shard.idle.push(slot);
            // A repository without anything to do makes room for another.
            if shard.open.len() == opened {
                return;
            }
        }
    }

    fn start(&mut self, shard: u32, slot: u32, repository: u64, tag: u64) {
        let asker = Asker {
            shard,
            part: Part::Image(slot),
        };
        let new = self.workload.is_new(tag);
        let image = &mut self.shard(asker).images[slot as usize];
        (image.repository, image.tag) = (repository, tag);
        image.missing = if new { 1 } else { 2 };
        if new {
            self.ask(asker, Request::GetManifest);
        } else {
            self.ask(asker, Request::SourceHead);
            self.ask(asker, Request::DestinationHead);
        }
    }

    /// Sends a request, if the source lets it through.
    fn ask(&mut self, asker: Asker, request: Request) {
        let now = self.clock.now();
        if request.is_at_source()
            && let Err(until) = self.admit(asker, request, now)
        {
            self.wait(asker, now);
            self.clock.plan(until, Event::AskAgain(asker, request));
            return;
        }
        self.clock
            .plan(now + self.rtt, Event::Answer(asker, request));
    }

    /// Asks the limits, or says until when the request waits.
    fn admit(&mut self, asker: Asker, request: Request, now: Time) -> Result<(), Time> {
        let manifest = matches!(request, Request::GetManifest);
        let shard = &mut self.shards[asker.shard as usize];
        let paused = if manifest {
            shard.manifests_paused.max(shard.paused)
        } else {
            shard.paused
        };
        if paused > now {
            return Err(paused);
        }
        let refusal = |wait| now + self.rtt + wait;
        if let Some(Err(wait)) = self.rate.as_mut().map(|limit| limit.ask(now)) {
            shard.costs.count(Kind::Refused);
            shard.paused = shard.paused.max(refusal(wait));
            return Err(refusal(wait));
        }
        let manifests = self.manifests.as_mut().filter(|_| manifest);
        if let Some(Err(wait)) = manifests.map(|limit| limit.ask(now)) {
            shard.costs.count(Kind::Refused);
            shard.manifests_paused = shard.manifests_paused.max(refusal(wait));
            return Err(refusal(wait));
        }
        Ok(())
    }

    fn wait(&mut self, asker: Asker, now: Time) {
        if let Part::Image(slot) = asker.part {
            let image = &mut self.shard(asker).images[slot as usize];
            if image.waiting == 0 {
                image.since = now;
            }
            image.waiting += 1;
        }
    }

    fn waited(&mut self, asker: Asker) {
        let now = self.clock.now();
        if let Part::Image(slot) = asker.part {
            let shard = self.shard(asker);
            let image = &mut shard.images[slot as usize];
            image.waiting -= 1;
            if image.waiting == 0 {
                shard.costs.waited += now - image.since;
            }
        }
    }

    fn answer(&mut self, asker: Asker, request: Request) {
        if !matches!(request, Request::Post(_)) {
            self.shard(asker).costs.count(request.kind());
        }
        match asker.part {
            Part::Lists(repository) => self.listed(asker, repository, request),
            Part::Image(slot) => self.step(asker, slot, request),
        }
    }

    fn listed(&mut self, asker: Asker, repository: u64, request: Request) {
        let page = self.page;
        let more = self.shard(asker).lists(repository).is_some_and(|lists| {
            if matches!(request, Request::SourcePage) {
                lists.page(page)
            } else {
                lists.destination_pages -= 1;
                lists.destination_pages > 0
            }
        });
        if more {
            self.ask(asker, request);
        }
        self.go_on(asker.shard);
    }

    fn step(&mut self, asker: Asker, slot: u32, request: Request) {
        match request {
            Request::GetManifest => {
                let image = &self.shard(asker).images[slot as usize];
                let (repository, tag) = (image.repository, image.tag);
                for blob in self.workload.blobs(repository, tag) {
                    self.want(asker, slot, blob);
                }
                self.come(asker, slot);
            }
            Request::Post(blob) => self.answered(asker, slot, blob),
            Request::GetBlob(blob) => {
                let (now, takes) = (self.clock.now(), self.takes(blob.size));
                let end = self.shard(asker).carry(now, takes, blob.size);
                self.clock
                    .plan(end, Event::Ask(asker, Request::PutBlob(blob)));
            }
            Request::PutBlob(blob) => self.arrive(asker, slot, blob),
            Request::PutManifest => self.settle(asker, slot),
            Request::SourceHead | Request::DestinationHead => {
                let image = &mut self.shard(asker).images[slot as usize];
                image.missing -= 1;
                if image.missing == 0 {
                    self.settle(asker, slot);
                }
            }
            Request::SourcePage | Request::DestinationPage => {}
        }
    }

    fn want(&mut self, asker: Asker, slot: u32, blob: Blob) {
        let shard = self.shard(asker);
        match shard.claim(slot, blob) {
            Claim::Here => return,
            Claim::Wait => {}
            Claim::Ask => self.ask(asker, Request::Post(blob)),
        }
        self.shard(asker).images[slot as usize].missing += 1;
    }

    /// Takes the answer to the question for a blob.
    fn answered(&mut self, asker: Asker, slot: u32, blob: Blob) {
        let image = &self.shards[asker.shard as usize].images[slot as usize];
        let (repository, tag) = (image.repository, image.tag);
        let there = blob.shared.is_some_and(|shared| {
            let brought = self.shards[asker.shard as usize].brought.contains(&shared);
            let placed = self.placed.contains(&(shared, repository));
            brought || placed || self.workload.base_stands(repository, tag)
        });
        if there {
            self.shard(asker).costs.count(Kind::Mount);
            self.arrive(asker, slot, blob);
        } else {
            self.shard(asker).costs.count(Kind::Post);
            self.ask(asker, Request::GetBlob(blob));
        }
    }

    /// Notes that a blob is there, and lets those go on who wait for it.
    fn arrive(&mut self, asker: Asker, slot: u32, blob: Blob) {
        if let Some(shared) = blob.shared {
            let shard = self.shard(asker);
            let place = (shared, shard.images[slot as usize].repository);
            shard.known.insert(place);
            shard.brought.insert(shared);
            let waiting = shard.moving.remove(&shared).unwrap_or_default();
            self.placed.insert(place);
            for other in waiting {
                let asker = Asker {
                    part: Part::Image(other),
                    ..asker
                };
                self.want(asker, other, blob);
                self.come(asker, other);
            }
        }
        self.come(asker, slot);
    }

    /// Notes that one thing less is missing. When nothing is, the manifest is put.
    fn come(&mut self, asker: Asker, slot: u32) {
        let image = &mut self.shard(asker).images[slot as usize];
        image.missing -= 1;
        if image.missing == 0 {
            self.ask(asker, Request::PutManifest);
        }
    }

    fn settle(&mut self, asker: Asker, slot: u32) {
        let now = self.clock.now();
        let shard = self.shard(asker);
        shard.costs.end = now;
        shard.idle.push(slot);
        self.go_on(asker.shard);
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "sizes are small and not negative"
    )]
    fn takes(&self, bytes: u64) -> Time {
        if self.bandwidth == 0.0 {
            return 0;
        }
        (bytes as f64 * 8.0 / self.bandwidth * 1e9).round() as Time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays a mirror and returns what it cost in all, and how long it took, in seconds.
    fn play(line: &str) -> (Costs, f64) {
        let mut sum = Costs::default();
        for costs in World::play(&Arguments::of(line)) {
            sum.add(&costs);
        }
        let seconds = sum.end as f64 / SECOND as f64;
        (sum, seconds)
    }

    fn close(value: f64, expected: f64) {
        let off = (value / expected - 1.0).abs();
        assert!(off < 0.03, "{value} is not about {expected}");
    }

    #[test]
    fn without_limits_the_round_trips_are_the_time() {
        let line = "--tags 50000 --repositories 50 --changed 0 --parallel 10 --rtt-ms 20";
        let (costs, seconds) = play(line);
        close(seconds, 50_000.0 / 10.0 * 0.020);
        assert_eq!(costs.of(Kind::SourceHead), 50_000);
        assert_eq!(costs.of(Kind::DestinationHead), 50_000);
        assert_eq!(
            (costs.of(Kind::SourcePage), costs.of(Kind::DestinationPage)),
            (50, 50)
        );
        assert_eq!((costs.all(), costs.bytes, costs.waited), (100_100, 0, 0));

        // Manifest, question, blob, upload, manifest: five round trips.
        let new = "--tags 50000 --repositories 50 --changed 100 --layers 1 --bandwidth-mbit 0";
        let (costs, seconds) = play(&format!("{new} --parallel 10 --rtt-ms 20"));
        close(seconds, 50_000.0 / 10.0 * 5.0 * 0.020);
        let blobs = [Kind::GetBlob, Kind::Post, Kind::PutBlob].map(|kind| costs.of(kind));
        assert_eq!(blobs, [100_000; 3]);
        assert_eq!(
            (costs.of(Kind::GetManifest), costs.of(Kind::PutManifest)),
            (50_000, 50_000)
        );
        assert_eq!(costs.of(Kind::Mount), 0);
    }

    #[test]
    fn a_narrow_link_is_the_time() {
        let line = "--tags 5000 --repositories 5 --changed 100 --layers 3 --bandwidth-mbit 100";
        let (costs, seconds) = play(line);
        close(seconds, costs.bytes as f64 * 8.0 / 100e6);
    }

    #[test]
    fn shards_divide_the_time_and_not_the_questions() {
        let line = "--tags 80000 --repositories 20 --changed 0 --parallel 10";
        let (one, alone) = play(line);
        let (eight, together) = play(&format!("{line} --shards 8"));
        let ratio = alone / together;
        assert!((7.5..8.1).contains(&ratio), "{ratio}");
        assert_eq!(eight.of(Kind::SourceHead), one.of(Kind::SourceHead));
        assert_eq!(
            eight.of(Kind::DestinationHead),
            one.of(Kind::DestinationHead)
        );
        // Each lists everything.
        assert_eq!(eight.of(Kind::SourcePage), 8 * one.of(Kind::SourcePage));
    }

    #[test]
    fn a_shared_blob_is_fetched_once_by_a_process() {
        let line = "--tags 4000 --repositories 100 --changed 100 --layers 4";
        let (one, _) = play(line);
        let own = 2 * 4000;
        let shared = one.of(Kind::GetBlob) - own;
        // 100 repositories with two base images each, of fewer families than repositories.
        assert!(shared <= 3 * 2 * 50, "{shared}");
        assert_eq!(shared + one.of(Kind::Mount), 3 * 2 * 100);
        // A new tag whose neighbours are there finds their base.
        let (some, _) = play("--tags 4000 --repositories 100 --changed 10 --layers 4");
        assert_eq!(some.of(Kind::GetBlob), 2 * some.of(Kind::GetManifest));
        let (two, _) = play(&format!("{line} --shards 2"));
        assert_eq!(two.of(Kind::GetManifest), one.of(Kind::GetManifest));
        assert!(two.of(Kind::GetBlob) >= one.of(Kind::GetBlob));
    }

    #[test]
    fn a_limit_is_never_exceeded_and_is_used() {
        let line = "--tags 3000 --repositories 3 --changed 10 --rate 100 --shards 3";
        let mut world = World::new(&Arguments::of(line));
        world.begin();
        let mut served = Vec::new();
        while let Some(event) = world.clock.next() {
            if let Event::Answer(_, request) = &event
                && request.is_at_source()
            {
                served.push(world.clock.now());
            }
            world.happen(event);
        }
        for many in served.windows(101) {
            assert!(many[100] - many[0] >= SECOND);
        }
        let seconds = served[served.len() - 1] as f64 / SECOND as f64;
        let used = served.len() as f64 / (100.0 * seconds);
        assert!(used > 0.8, "{used}");
        assert!(
            world
                .shards
                .iter()
                .all(|shard| shard.costs.of(Kind::Refused) > 0)
        );
    }

    #[test]
    fn questions_for_a_digest_are_no_pulls() {
        let line = "--tags 2000 --repositories 2 --manifest-limit 100/6h";
        let (costs, seconds) = play(&format!("{line} --changed 0"));
        assert_eq!((costs.of(Kind::Refused), costs.waited), (0, 0));
        assert!(seconds < 10.0, "{seconds}");
        // Of 2000 new tags, 100 come at once, and 100 more every six hours.
        let (costs, seconds) = play(&format!("{line} --changed 100"));
        close(seconds, 19.0 * 6.0 * 3600.0);
        assert_eq!(costs.of(Kind::GetManifest), 2000);
        assert!(costs.waited > 0);
    }

    #[test]
    fn every_run_is_the_same() {
        let arguments =
            Arguments::of("--tags 5000 --repositories 7 --changed 20 --rate 500 --shards 3");
        assert_eq!(World::play(&arguments), World::play(&arguments));
    }

    #[test]
    fn nothing_to_do_is_done_at_once() {
        let (costs, _) = play("--tags 0 --repositories 3");
        assert_eq!(
            (costs.of(Kind::SourcePage), costs.of(Kind::SourceHead)),
            (3, 0)
        );
        let (costs, _) = play("--tags 2 --repositories 30 --shards 2 --changed 0");
        assert_eq!(costs.of(Kind::SourceHead), 2);
    }
}
