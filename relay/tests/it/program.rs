//! The program `bizproc-relay`, as a process.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, SystemTime};

use bizproc_portal::Portal;
use bizproc_test_postgres::PASSWORD;
use tracing_bizproc::EventToken;
use tracing_bizproc::journal::{
    Batch, Chunk, Content, Journal, Mark, MarkKind, Publisher, Query, StoredLine,
};
use tracing_bizproc_relay::PgJournal;

use crate::database::{Database, wait};

const TOKEN: &str = "s3cret-token";

/// The program, without the environment variables of the tests.
fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bizproc-relay"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

fn connection(database: &Database) -> String {
    format!("postgres://postgres:{PASSWORD}@127.0.0.1:{}/{}", database.port(), database.name)
}

fn ask(database: &Database, arguments: &[&str]) -> Output {
    program(arguments).env("BIZPROC_DATABASE_URL", connection(database)).output().unwrap()
}

/// The output of a command, which must succeed.
fn answer(database: &Database, arguments: &[&str]) -> String {
    let output = ask(database, arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

fn chunk(event_token: &str, numbers: std::ops::RangeInclusive<u64>) -> Chunk {
    let line = |no| StoredLine {
        no,
        at: now(),
        level: tracing::Level::INFO,
        body: format!("line {no}"),
        cut: 0,
        tried: false,
    };
    Chunk {
        portal: None,
        event_token: EventToken::parse(event_token).unwrap(),
        content: Content::Lines(numbers.map(line).collect()),
        about: None,
    }
}

#[expect(clippy::disallowed_methods, reason = "a test has the real clock of the server beside it")]
fn now() -> SystemTime {
    SystemTime::now()
}

fn append(journal: &PgJournal, no: u64, chunk: Chunk) {
    wait(journal.append(&Batch { publisher: Publisher(1), no, chunks: vec![chunk] })).unwrap();
}

#[test]
fn wrong_settings_are_named_and_secrets_are_not() {
    let wrong = |command: &mut Command, hint: &str| {
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(hint) && !said.contains("s3cret"), "{said}");
    };
    wrong(&mut program(&["run"]), "BIZPROC_DATABASE_URL");
    wrong(&mut program(&["stop"]), "no command `stop`");
    wrong(
        program(&["check"]).env("BIZPROC_DATABASE_URL", "postgres://a:s3cret@db/app?s3cret=1"),
        "BIZPROC_DATABASE_URL",
    );
    let database = "postgres://a:s3cret@127.0.0.1/app";
    wrong(program(&["run"]).env("BIZPROC_DATABASE_URL", database), "BITRIX24_CLIENT_ID");
    wrong(
        program(&["run"])
            .env("BIZPROC_DATABASE_URL", database)
            .env("BITRIX24_WEBHOOK_URL", "http://b24.example/rest/1/s3cret/"),
        "BITRIX24_WEBHOOK_URL",
    );
    wrong(
        program(&["run"]).env("BIZPROC_DATABASE_URL", database).env("BIZPROC_RELAY_LISTEN", "all"),
        "BIZPROC_RELAY_LISTEN is \"all\"",
    );
    wrong(&mut program(&["--config", "/nowhere/relay.toml", "run"]), "/nowhere/relay.toml");

    let file = File::new("not.toml", "[database]\nurl = s3cret\n");
    wrong(&mut program(&["--config", file.path(), "run"]), "not TOML in line 2");
}

/// A file of this test. It is removed when this is dropped.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let name = format!("bizproc-relay-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        File(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // The folder is for temporary files.
        let _ = std::fs::remove_file(&self.0);
    }
}

const PAGE: &str = include_str!("../../../docs/relay.md");

#[test]
fn every_setting_of_the_page_is_known() {
    let (_, settings) = PAGE.split_once("\n## Settings\n").unwrap();
    let (settings, _) = settings.split_once("\n## ").unwrap();
    let rows: Vec<&str> = settings.lines().filter(|line| line.starts_with("| `")).collect();
    assert!(rows.len() > 15, "{rows:?}");
    for row in rows {
        let words: Vec<&str> = row.split('`').collect();
        let (section, key) = words[1].rsplit_once('.').unwrap_or(("", words[1]));
        let section = if section.is_empty() { String::new() } else { format!("[{section}]\n") };
        // No setting is a list, so a list is always a wrong value.
        let file = File::new("wrong.toml", &format!("{section}{key} = []\n"));
        let mut command = program(&["--config", file.path(), "check"]);
        command.env("BIZPROC_DATABASE_URL", "host=127.0.0.1 port=1");
        let variable = words.get(3).filter(|name| name.starts_with("BI"));
        let said = String::from_utf8(command.output().unwrap().stderr).unwrap();
        assert!(said.contains(key) && !said.contains("there is no setting"), "{row}: {said}");
        let Some(variable) = variable else { continue };
        let output = program(&["check"])
            .env("BIZPROC_DATABASE_URL", "host=127.0.0.1 port=1")
            .env(variable, "\u{1}")
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!said.contains("there is no setting"), "{row}: {said}");
    }
}

#[test]
fn the_file_of_the_page_can_be_used() {
    let (_, file) = PAGE.split_once("```toml\n").unwrap();
    let (file, _) = file.split_once("```").unwrap();
    let secret = File::new("secret", "s3cret\n");
    let file = file
        .replace("/run/secrets/database-password", secret.path())
        .replace("/run/secrets/client-secret", secret.path())
        .replace("db1.example,db2.example", "127.0.0.1:1");
    let file = File::new("page.toml", &file);
    let output = program(&["--config", file.path(), "check"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    // The settings are correct, but there is no database.
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("no connection") && !said.contains("s3cret"), "{said}");
}

#[test]
fn every_command_fails_if_the_database_cannot_be_reached() {
    let away = "postgres://a:s3cret@127.0.0.1:1/app";
    for arguments in [&["status"][..], &["check"], &["migrate"], &["drain"], &["dead", "list"]] {
        let output = program(arguments).env("BIZPROC_DATABASE_URL", away).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains("no connection") && !said.contains("s3cret"), "{said}");
    }
}

#[test]
fn the_tables_are_made_and_checked() {
    let Some(database) = Database::new() else { return };
    let output = ask(&database, &["check"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("has no tables"));
    answer(&database, &["migrate"]);
    assert!(answer(&database, &["check"]).ends_with("ok\n"));
    let status = answer(&database, &["status"]);
    assert!(status.starts_with("chunks=0 lines=0 oldest=- dead_chunks=0"), "{status}");
    assert!(status.contains("relay=- shards=256/256"), "{status}");
}

#[test]
fn dead_letters_are_listed_and_put_back() {
    let Some(database) = Database::new() else { return };
    let journal = database.journal().max_age(Duration::from_secs(3_600));
    append(&journal, 1, chunk(TOKEN, 1..=3));
    append(&journal, 2, chunk(TOKEN, 4..=4));
    let mark = |no, kind| Mark {
        publisher: Publisher(1),
        portal: None,
        event_token: EventToken::parse(TOKEN).unwrap(),
        from: no,
        up_to: no,
        kind,
    };
    wait(journal.mark(&[mark(1, MarkKind::Settled), mark(2, MarkKind::Tried)])).unwrap();
    assert_eq!(answer(&database, &["dead", "list"]), "");
    database.age(Duration::from_secs(7_200));
    assert_eq!(wait(journal.evicted(now())).unwrap().len(), 2);

    let list = answer(&database, &["dead", "list", "--default-portal"]);
    let first = list.lines().next().unwrap();
    assert_eq!(list.lines().count(), 2, "{list}");
    assert!(first.contains("portal=- lines=3 logged=20") && !list.contains("s3cret"), "{list}");
    assert_eq!(answer(&database, &["dead", "list", "--portal", "north"]), "");
    assert!(answer(&database, &["status"]).contains("chunks=0 lines=0 oldest=- dead_chunks=2"));

    let id = first.strip_prefix("id=").unwrap().split(' ').next().unwrap();
    let one = answer(&database, &["dead", "requeue", "--id", id]);
    assert_eq!(one, "requeued chunks=1 lines=3\n");
    let again = ask(&database, &["dead", "requeue", "--id", id]);
    assert_eq!(again.status.code(), Some(1));
    let rest = answer(&database, &["dead", "requeue", "--all"]);
    assert_eq!(rest, "requeued chunks=1 lines=1\n");
    let read = wait(journal.read(Query { portal: None, after: None, most_bytes: 1_000_000 }));
    let lines = read.unwrap().chunks.into_iter().flat_map(|(_, chunk)| match chunk.content {
        Content::Lines(lines) => lines,
        other => panic!("{other:?}"),
    });
    let found: Vec<_> = lines.map(|line| (line.no, line.tried)).collect();
    assert_eq!(found, [(2, true), (3, false), (4, false)], "what was known of them is known");
}

#[test]
fn a_drain_waits_for_present_chunks_and_ends_in_time() {
    let Some(database) = Database::new() else { return };
    let journal = database.journal();
    assert_eq!(answer(&database, &["drain"]), "left=0\n");
    append(&journal, 1, chunk(TOKEN, 1..=2));
    let output = ask(&database, &["drain", "--timeout", "700ms"]);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "left=1\n");

    let mut waiting = program(&["drain"])
        .env("BIZPROC_DATABASE_URL", connection(&database))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(waiting.stdout.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "left=1");
    // It does not wait for lines that arrive later.
    append(&journal, 2, chunk("another", 3..=3));
    let settled = Mark {
        publisher: Publisher(1),
        portal: None,
        event_token: EventToken::parse(TOKEN).unwrap(),
        from: 1,
        up_to: 2,
        kind: MarkKind::Settled,
    };
    wait(journal.mark(&[settled])).unwrap();
    assert_eq!(said.next().unwrap().unwrap(), "left=0");
    assert!(waiting.wait().unwrap().success());
}

/// A relay that runs, and is killed with the test.
struct Running {
    child: Child,
    log: BufReader<ChildStderr>,
    /// The address of its pages.
    address: String,
}

impl Running {
    fn start(database: &Database, portal: &Portal) -> Self {
        let mut child = program(&["run"])
            .env("BIZPROC_DATABASE_URL", connection(database))
            .env("BITRIX24_WEBHOOK_URL", portal.webhook_url())
            .env("BIZPROC_RELAY_LISTEN", "127.0.0.1:0")
            .env("BIZPROC_RELAY_STOP_TIMEOUT", "10s")
            .env("BIZPROC_LINGER", "20ms")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut running = Running { child, log, address: String::new() };
        let served = running.until("Health and metrics are served");
        let (_, address) = served.split_once("\"address\":\"").unwrap();
        running.address = address.split('"').next().unwrap().to_owned();
        running
    }

    /// Waits for the line of the log with this text.
    fn until(&mut self, text: &str) -> String {
        let mut seen = String::new();
        loop {
            let before = seen.len();
            if self.log.read_line(&mut seen).unwrap() == 0 {
                panic!("the log ends without {text:?}: {seen}");
            }
            let line = &seen[before..];
            assert!(!line.contains("s3cret"), "{line}");
            if line.contains(text) {
                return line.to_owned();
            }
        }
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: relay\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A process that has ended already cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Repeats the call until the answer contains this text.
#[expect(clippy::disallowed_methods, reason = "another process is asked again and again")]
fn eventually(what: &str, ask: impl Fn() -> String) -> String {
    for _ in 0..600 {
        let answer = ask();
        if answer.contains(what) {
            return answer;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("it does not come to {what:?}: {}", ask());
}

#[test]
fn the_program_delivers_serves_its_pages_and_stops_at_a_signal() {
    let Some(database) = Database::new() else { return };
    let journal = database.journal();
    let portal = Portal::builder().start().unwrap();
    let workflow = portal.start_workflow("Order");
    let activity = workflow.open_activity("Check");
    append(&journal, 1, chunk(&activity.event_token(), 1..=3));

    let mut relay = Running::start(&database, &portal);
    assert!(workflow.wait_for(Duration::from_secs(30), |flow| flow.lines().len() >= 3));
    assert_eq!(answer(&database, &["drain", "--timeout", "30s"]).lines().last(), Some("left=0"));
    append(&journal, 2, chunk(&activity.event_token(), 4..=5));
    assert!(workflow.wait_for(Duration::from_secs(30), |flow| flow.lines().len() >= 5));

    let health = eventually("200 OK", || relay.get("/health"));
    assert!(health.contains("ready\nshards=256\n"), "{health}");
    assert!(relay.get("/live").contains("200 OK") && relay.get("/").contains("404 Not Found"));
    let metrics =
        eventually("bizproc_relay_lines_acknowledged_total 5\n", || relay.get("/metrics"));
    for metric in ["database_up 1", "shards_owned 256", "fenced_total 0", "lines_lost_total 0"] {
        assert!(metrics.contains(&format!("bizproc_relay_{metric}\n")), "{metric}: {metrics}");
    }
    let status = answer(&database, &["status"]);
    assert!(status.contains("shards=256/256"), "{status}");

    relay.signal("TERM");
    relay.until("The relay has stopped");
    assert!(relay.child.wait().unwrap().success());
    let status = answer(&database, &["status"]);
    assert!(status.contains("relay=- shards=256/256"), "it has given everything back: {status}");
    let lines = workflow.lines();
    assert_eq!(lines.len(), 5, "{lines:?}");
}
