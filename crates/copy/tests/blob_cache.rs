//! The blob cache: what it remembers, and that nothing that happens to it is an error.

use std::fs;

use dhow_copy::{BlobCache, Known};
use dhow_model::{Annotations, Digest, Repository};

fn fact(blob: &str, content: &str, format: &str) -> Known {
    let mut annotations = Annotations::new();
    annotations.insert("b", "2");
    annotations.insert("a", "1");
    Known {
        digest: Digest::sha256(blob.as_bytes()),
        size: blob.len() as u64,
        format: format.to_owned(),
        diff_id: Digest::sha256(content.as_bytes()),
        unpacked_size: content.len() as u64,
        annotations,
    }
}

fn place(path: &str) -> Repository {
    Repository::parse(&format!("r.test/{path}")).expect("the test is right about this")
}

#[tokio::test]
async fn what_is_learned_is_known_to_the_next_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = BlobCache::open(folder.path().join("deep/dhow"));
    let (gzip, zstd) = (
        fact("one", "content", "gzip"),
        fact("two", "content", "zstd"),
    );
    assert!(cache.packed(&gzip.diff_id, "gzip").await.is_empty());
    cache.learn(gzip.clone()).await;
    cache.learn(zstd.clone()).await;
    cache.seen(vec![(gzip.digest, place("a/b"))]).await;
    let next = BlobCache::open(folder.path().join("deep/dhow"));
    let content = gzip.diff_id;
    assert_eq!(
        next.packed(&content, "gzip").await,
        std::slice::from_ref(&gzip)
    );
    assert_eq!(
        next.packed(&content, "zstd").await,
        std::slice::from_ref(&zstd)
    );
    assert!(next.packed(&gzip.diff_id, "zstd:chunked").await.is_empty());
    assert_eq!(next.unpacked(&zstd.digest).await, Some(zstd));
    let both = vec![gzip.digest, content];
    let found = next.locations(both.clone(), "r.test").await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[&gzip.digest], ["a/b"]);
    assert!(next.locations(both.clone(), "other.test").await.is_empty());
    next.gone(&gzip.digest, "r.test", "a/b").await;
    assert!(cache.locations(both, "r.test").await.is_empty());
}

#[tokio::test]
async fn facts_that_contradict_each_other_are_dropped() {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = BlobCache::open(folder.path().to_owned());
    let (one, other) = (fact("blob", "this", "gzip"), fact("blob", "that", "gzip"));
    cache.learn(one.clone()).await;
    cache.learn(other.clone()).await;
    assert_eq!(cache.unpacked(&one.digest).await, None);
    assert!(cache.packed(&other.diff_id, "gzip").await.is_empty());
}

#[tokio::test]
async fn a_cache_that_is_off_broken_or_in_the_way_is_no_error() {
    let one = fact("blob", "content", "gzip");
    let off = BlobCache::off();
    off.learn(one.clone()).await;
    assert_eq!(off.unpacked(&one.digest).await, None);

    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("file"), "in the way").expect("a file");
    let blocked = BlobCache::open(folder.path().join("file"));
    blocked.learn(one.clone()).await;
    assert_eq!(blocked.unpacked(&one.digest).await, None);

    // A file that is no database is put aside, and the next one works.
    let file = folder.path().join("blobs-v1.sqlite");
    fs::write(
        &file,
        "no database, and long enough to be looked at ".repeat(100),
    )
    .expect("a file");
    let cache = BlobCache::open(folder.path().to_owned());
    cache.learn(one.clone()).await;
    assert_eq!(cache.unpacked(&one.digest).await, Some(one));
}

#[tokio::test]
async fn a_cache_that_somebody_holds_is_used_when_it_is_free() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("blobs-v1.sqlite");
    let holder = rusqlite::Connection::open(file).expect("a database");
    holder.execute_batch("BEGIN EXCLUSIVE").expect("it is ours");
    let cache = BlobCache::open(folder.path().to_owned());
    let one = fact("blob", "content", "gzip");
    cache.learn(one.clone()).await;
    assert_eq!(cache.unpacked(&one.digest).await, None);
    holder.execute_batch("ROLLBACK").expect("it is free");
    cache.learn(one.clone()).await;
    assert_eq!(cache.unpacked(&one.digest).await, Some(one));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_write_at_once_and_nothing_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..8 {
        // Each has a connection of its own, as a process has.
        let cache = BlobCache::open(folder.path().to_owned());
        tasks.spawn(async move {
            for number in 0..25 {
                let name = format!("{writer}/{number}");
                cache.learn(fact(&name, &name, "gzip")).await;
                let shared = Digest::sha256(b"shared");
                cache.seen(vec![(shared, place(&name))]).await;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("no task panics");
    }
    let cache = BlobCache::open(folder.path().to_owned());
    for writer in 0..8 {
        for number in 0..25 {
            let name = format!("{writer}/{number}");
            let digest = Digest::sha256(name.as_bytes());
            assert!(cache.unpacked(&digest).await.is_some(), "{name}");
        }
    }
    let shared = Digest::sha256(b"shared");
    let found = cache.locations(vec![shared], "r.test").await;
    assert_eq!(found[&shared].len(), 5);
}

#[tokio::test]
async fn a_cache_that_many_copies_write_to_does_not_grow_without_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let repository = place("b/c");
    let places: Vec<_> = (0..100_u8)
        .map(|number| (Digest::sha256(&[number]), repository.clone()))
        .collect();
    for _ in 0..150 {
        BlobCache::open(folder.path().to_owned())
            .seen(places.clone())
            .await;
    }
    let files = fs::read_dir(folder.path()).expect("the folder is there");
    let size: u64 = files
        .filter_map(|file| file.ok()?.metadata().ok())
        .map(|file| file.len())
        .sum();
    assert!(size < 2 * 1024 * 1024, "{size} bytes");
    let cache = BlobCache::open(folder.path().to_owned());
    let digests = places.iter().map(|(digest, _)| *digest).collect();
    assert_eq!(cache.locations(digests, "r.test").await.len(), 100);
}
