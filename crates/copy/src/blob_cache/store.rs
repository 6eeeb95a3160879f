//! The cache as an SQLite file: tables, questions, and what is done about a file that is broken.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use dhow_model::{Annotations, Digest, Repository};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Row, params};

use super::Known;

/// Opens the file in a folder, and makes both when they are not there.
///
/// # Errors
/// When the folder cannot be written, or the file belongs to a later version.
pub(super) fn open(folder: &Path) -> rusqlite::Result<Connection> {
    std::fs::create_dir_all(folder).map_err(|error| unusable(&error.to_string()))?;
    let path = folder.join(FILE);
    match prepared_in_turn(&path) {
        Err(error) if is_broken(&error) => {
            // Whoever has it open goes on with the old file; nothing in it is needed.
            std::fs::rename(&path, folder.join(format!("{FILE}.broken")))
                .map_err(|error| unusable(&error.to_string()))?;
            prepared_in_turn(&path)
        }
        outcome => outcome,
    }
}

/// Returns whether there is a file.
pub(super) fn exists(folder: &Path) -> bool {
    folder.join(FILE).exists()
}

/// Tries again while others make the file: where two switch to the log at once, SQLite gives one of
/// them up without waiting.
fn prepared_in_turn(path: &Path) -> rusqlite::Result<Connection> {
    let start = Instant::now();
    loop {
        match prepared(path) {
            Err(error) if is_busy(&error) && start.elapsed() < PATIENCE => {
                std::thread::sleep(PAUSE);
            }
            outcome => return outcome,
        }
    }
}

fn prepared(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(PATIENCE)?;
    // Others wait while the file is made, so it is not written through to a disk that may be busy. One
    // that the power breaks is put aside.
    connection.pragma_update(None, "synchronous", "off")?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version > VERSION {
        return Err(unusable("it belongs to a later version"));
    }
    if version < VERSION {
        connection.execute_batch(TABLES)?;
        connection.pragma_update(None, "user_version", VERSION)?;
    }
    // A fact that is lost with the power is found out again.
    connection.pragma_update(None, "synchronous", "normal")?;
    // What is written goes on where the last process stopped: moving it into the file each time would
    // wait for the disk at the end of every copy. See `shorten`.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    if is_log_long(&connection) {
        shorten(&connection)?;
        // Now and then is enough: counting reads a good part of the file.
        prune(&connection)?;
    }
    Ok(connection)
}

/// Returns whether the processes before have written much.
fn is_log_long(connection: &Connection) -> bool {
    let log = connection.path().map(|path| format!("{path}-wal"));
    let length = log.and_then(|path| std::fs::metadata(path).ok());
    length.is_some_and(|log| log.len() > LONGEST_LOG)
}

/// Moves the log into the file: whoever opens the cache reads all of it. SQLite by itself begins it
/// anew only within a process that goes on writing.
fn shorten(connection: &Connection) -> rusqlite::Result<()> {
    // Whoever uses it now is not waited for; the next one moves it.
    connection.busy_timeout(Duration::ZERO)?;
    let moved = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    connection.busy_timeout(PATIENCE)?;
    match moved {
        Err(error) if is_busy(&error) => Ok(()),
        moved => moved,
    }
}

/// Drops the oldest facts when there are too many.
fn prune(connection: &Connection) -> rusqlite::Result<()> {
    for table in ["facts", "places"] {
        let count = format!("SELECT count(*) FROM {table}");
        let count: i64 = connection.query_row(&count, [], |row| row.get(0))?;
        if count > MOST {
            let drop = format!(
                "DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} ORDER BY seen LIMIT ?1)"
            );
            connection.execute(&drop, [count - MOST / 2])?;
        }
    }
    Ok(())
}

pub(super) fn packed(
    connection: &Connection,
    diff_id: &Digest,
    format: &str,
) -> rusqlite::Result<Vec<Known>> {
    let mut statement = connection.prepare_cached(
        "SELECT digest, size, format, diff_id, unpacked_size, annotations FROM facts \
         WHERE diff_id = ?1 AND format = ?2 ORDER BY seen DESC LIMIT 8",
    )?;
    let rows = statement.query_map(params![diff_id.to_string(), format], known)?;
    rows.filter_map(Result::transpose).collect()
}

pub(super) fn unpacked(
    connection: &Connection,
    digest: &Digest,
) -> rusqlite::Result<Option<Known>> {
    let mut statement = connection.prepare_cached(
        "SELECT digest, size, format, diff_id, unpacked_size, annotations FROM facts \
         WHERE digest = ?1",
    )?;
    let row = statement.query_row([digest.to_string()], known);
    row.optional().map(Option::flatten)
}

pub(super) fn locations(
    connection: &Connection,
    digests: &[Digest],
    registry: &str,
) -> rusqlite::Result<HashMap<Digest, Vec<String>>> {
    let all = connection.unchecked_transaction()?;
    let mut statement = all.prepare_cached(
        "SELECT repository FROM places WHERE digest = ?1 AND registry = ?2 \
         ORDER BY seen DESC LIMIT 5",
    )?;
    let mut found = HashMap::new();
    for digest in digests {
        let rows = statement.query_map(params![digest.to_string(), registry], |row| row.get(0))?;
        let places = rows.collect::<rusqlite::Result<Vec<String>>>()?;
        if !places.is_empty() {
            found.insert(*digest, places);
        }
    }
    Ok(found)
}

pub(super) fn learn(connection: &Connection, fact: &Known, seen: i64) -> rusqlite::Result<()> {
    if let Some(older) = unpacked(connection, &fact.digest)?
        && older.diff_id != fact.diff_id
    {
        tracing::debug!(digest = %fact.digest, "two facts contradict each other");
        let mut statement = connection.prepare_cached("DELETE FROM facts WHERE digest = ?1")?;
        return statement.execute([fact.digest.to_string()]).map(drop);
    }
    let annotations: Vec<(&str, &str)> = fact.annotations.iter().collect();
    let annotations = serde_json::to_string(&annotations).unwrap_or_default();
    let mut statement = connection.prepare_cached(
        "INSERT OR REPLACE INTO facts \
         (digest, size, format, diff_id, unpacked_size, annotations, seen) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    statement
        .execute(params![
            fact.digest.to_string(),
            number(fact.size),
            fact.format,
            fact.diff_id.to_string(),
            number(fact.unpacked_size),
            annotations,
            seen,
        ])
        .map(drop)
}

pub(super) fn seen(
    connection: &Connection,
    places: &[(Digest, Repository)],
    seen: i64,
) -> rusqlite::Result<()> {
    // Each transaction locks and writes the file: one for all.
    let all = connection.unchecked_transaction()?;
    let mut statement = all.prepare_cached(
        "INSERT OR REPLACE INTO places (digest, registry, repository, seen) \
         VALUES (?1, ?2, ?3, ?4)",
    )?;
    for (digest, place) in places {
        let digest = digest.to_string();
        statement.execute(params![digest, place.registry(), place.path(), seen])?;
    }
    drop(statement);
    all.commit()
}

pub(super) fn gone(
    connection: &Connection,
    digest: &Digest,
    registry: &str,
    repository: &str,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "DELETE FROM places WHERE digest = ?1 AND registry = ?2 AND repository = ?3",
    )?;
    statement
        .execute(params![digest.to_string(), registry, repository])
        .map(drop)
}

/// Reads a row; `None` for one that makes no sense.
fn known(row: &Row<'_>) -> rusqlite::Result<Option<Known>> {
    let text = |at: usize| row.get::<_, String>(at);
    let size = |at: usize| Ok::<_, rusqlite::Error>(u64::try_from(row.get::<_, i64>(at)?).ok());
    let annotations: Option<Vec<(String, String)>> = serde_json::from_str(&text(5)?).ok();
    let (digest, diff_id) = (Digest::parse(&text(0)?).ok(), Digest::parse(&text(3)?).ok());
    let (bytes, unpacked, format) = (size(1)?, size(4)?, text(2)?);
    Ok((|| {
        Some(Known {
            digest: digest?,
            size: bytes?,
            format,
            diff_id: diff_id?,
            unpacked_size: unpacked?,
            annotations: annotations?.into_iter().collect::<Annotations>(),
        })
    })())
}

fn number(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// Returns whether somebody else had the file for longer than we wait.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

fn is_broken(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt)
    )
}

fn unusable(why: &str) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(
        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN),
        Some(why.to_owned()),
    )
}

const FILE: &str = "blobs-v1.sqlite";

const VERSION: i64 = 1;

/// How long another process is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long the next try to open it is put off.
const PAUSE: Duration = Duration::from_millis(5);

/// How long the log may be that is read whenever the cache is opened, in bytes.
const LONGEST_LOG: u64 = 1024 * 1024;

/// How much of the file is held in memory, in KiB.
const CACHE_KIB: i64 = 256;

/// The most rows of a table. The oldest half goes when there are more.
const MOST: i64 = 100_000;

const TABLES: &str = "
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS facts (
    digest TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    format TEXT NOT NULL,
    diff_id TEXT NOT NULL,
    unpacked_size INTEGER NOT NULL,
    annotations TEXT NOT NULL,
    seen INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS facts_by_content ON facts (diff_id, format);
CREATE TABLE IF NOT EXISTS places (
    digest TEXT NOT NULL,
    registry TEXT NOT NULL,
    repository TEXT NOT NULL,
    seen INTEGER NOT NULL,
    PRIMARY KEY (digest, registry, repository)
);
COMMIT;
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_half_goes_when_there_are_too_many() {
        let folder = tempfile::tempdir().unwrap();
        let fill = format!(
            "WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < {MOST}) \
             INSERT INTO places SELECT n, 'r.test', 'a', n FROM numbers"
        );
        open(folder.path()).unwrap().execute_batch(&fill).unwrap();
        let next = open(folder.path()).unwrap();
        let left = "SELECT count(*), min(seen), max(seen) FROM places";
        let left = next.query_row(left, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
        assert_eq!(left.unwrap(), (MOST / 2, MOST / 2 + 1, MOST));
    }
}
