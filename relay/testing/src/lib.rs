//! A PostgreSQL server for a test. It is started from the installed package in a temporary folder, and ends
//! together with the process that started it, even if that process is killed.
//!
//! PostgreSQL refuses to run as root. Then the server runs as the user `postgres`, which the package has created.

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use std::{env, process, thread};

/// If this variable is set, tests that need PostgreSQL fail if it is not installed.
pub const REQUIRE: &str = "BIZPROC_REQUIRE_POSTGRES";

/// The password of the user `postgres`, for connections by TCP. Connections by the socket need none.
pub const PASSWORD: &str = "pa55word-of-the-tests";

/// A running server. It is stopped, and its folder removed, when this is dropped or the process ends.
pub struct Postgres {
    programs: PathBuf,
    account: Option<Account>,
    folder: PathBuf,
    port: u16,
    settings: Vec<String>,
    running: Mutex<Option<Running>>,
}

/// A pooler before a server, until this is dropped or the process ends.
pub struct Pooler {
    port: u16,
    running: Option<Running>,
}

impl Pooler {
    /// The connection string for the user `postgres`.
    pub fn tcp(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.end();
        }
    }
}

/// Why there is no server.
#[derive(Debug)]
pub enum StartError {
    /// The package is not installed. The text says which.
    Missing(String),
    /// It is installed, but does not start.
    Failed(String),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StartError::Missing(why) | StartError::Failed(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for StartError {}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        StartError::Failed(format!("PostgreSQL does not start: {error}"))
    }
}

/// The user who runs the server, if it is not the present user.
#[derive(Clone, Copy)]
struct Account {
    uid: u32,
    gid: u32,
}

/// A shell that waits for the end of this process, and the server as its child.
struct Running {
    shell: Child,
    /// The server ends when this is closed.
    stdin: ChildStdin,
}

impl Postgres {
    /// Starts a server that keeps committed data, also after a crash.
    ///
    /// # Errors
    /// When the package is missing, or the server does not start.
    pub fn start() -> Result<Self, StartError> {
        Postgres::start_with(&[])
    }

    /// Starts a server with these settings, for example `fsync=off`.
    ///
    /// # Errors
    /// When the package is missing, or the server does not start.
    pub fn start_with(settings: &[&str]) -> Result<Self, StartError> {
        let programs = programs().ok_or_else(|| {
            StartError::Missing(
                "there is no PostgreSQL on this machine (Debian: apt-get install postgresql)"
                    .into(),
            )
        })?;
        let account = account()?;
        let folder = new_folder(account)?;
        let mut server = Postgres {
            programs,
            account,
            folder,
            port: free_port()?,
            settings: settings.iter().map(|&setting| setting.to_owned()).collect(),
            running: Mutex::new(None),
        };
        server.create()?;
        // Another process may have taken the port meanwhile.
        for attempt in 0.. {
            match server.resume() {
                Ok(()) => break,
                Err(error) if attempt == 3 => return Err(error),
                Err(_) => server.port = free_port()?,
            }
        }
        Ok(server)
    }

    /// A server, or `None` with a message on the standard error. Then the test is skipped. Panics instead if
    /// [`REQUIRE`] is set.
    ///
    /// # Panics
    /// When the server does not start although the package is installed, or the package is required.
    pub fn start_or_skip(settings: &[&str]) -> Option<Self> {
        or_skip(Postgres::start_with(settings))
    }

    /// The connection string for the user `postgres` by the server's socket.
    pub fn socket(&self, database: &str) -> String {
        let (folder, port) = (self.folder.display(), self.port);
        format!("host={folder} port={port} user=postgres dbname={database}")
    }

    /// The connection string for the user `postgres` by TCP, which needs the password.
    pub fn tcp(&self, database: &str) -> String {
        format!("postgres://postgres:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    /// The port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The processor time of the server's processes so far. `None`: the system does not say.
    pub fn cpu(&self) -> Option<Duration> {
        let pid = fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        let pid: u32 = pid.lines().next()?.trim().parse().ok()?;
        // The time of the first process includes its children that have ended.
        let mut used = ticks(pid, 4)?.0;
        for entry in fs::read_dir("/proc").ok()?.flatten() {
            let child = entry.file_name().to_str().and_then(|name| name.parse().ok());
            // A process that ends meanwhile is not counted.
            if let Some((of_child, _)) =
                child.and_then(|child| ticks(child, 2)).filter(|(_, parent)| *parent == pid)
            {
                used += of_child;
            }
        }
        Some(Duration::from_millis(10 * used))
    }

    /// Writes a file that only the server's user can read, and returns its path.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_file(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.folder.join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        if let Some(Account { uid, gid }) = self.account {
            chown(&path, Some(uid), Some(gid))?;
        }
        Ok(path)
    }

    /// Stops the server at once, like a crash: it writes nothing before it ends. Its connections are cut.
    pub fn crash(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(running) = running {
            running.end();
        }
    }

    /// Adds settings that have an effect from the next start on.
    pub fn set(&mut self, settings: &[&str]) {
        self.settings.extend(settings.iter().map(|&setting| setting.to_owned()));
    }

    /// Starts the server again after a [`crash`](Postgres::crash).
    ///
    /// # Errors
    /// When it does not start.
    pub fn resume(&self) -> Result<(), StartError> {
        let mut arguments = vec![
            format!("port={}", self.port),
            "listen_addresses=127.0.0.1".to_owned(),
            format!("unix_socket_directories={}", self.folder.display()),
            "lc_messages=C".to_owned(),
            "log_min_messages=warning".to_owned(),
        ];
        arguments.extend(self.settings.iter().cloned());
        let mut server = vec![
            self.programs.join("postgres").into_os_string(),
            "-D".into(),
            self.data().into_os_string(),
        ];
        for argument in arguments {
            server.extend(["-c".into(), argument.into()]);
        }
        let running =
            self.keep(&server, "QUIT", "database system is ready to accept connections")?;
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
        Ok(())
    }

    /// Starts PgBouncer before this server, with two connections to it, which change their client after each
    /// transaction.
    ///
    /// # Errors
    /// When the package is missing, or it does not start.
    pub fn start_pooler(&self) -> Result<Pooler, StartError> {
        let program = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"].map(PathBuf::from);
        let program = program.into_iter().find(|program| program.exists()).ok_or_else(|| {
            StartError::Missing(
                "there is no PgBouncer on this machine (Debian: apt-get install pgbouncer)".into(),
            )
        })?;
        let port = free_port()?;
        let users = self.write_file(&format!("users-{port}"), "\"postgres\" \"\"\n")?;
        let settings = format!(
            "[databases]\n* = host={} port={} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {}\n\
             pool_mode = transaction\ndefault_pool_size = 2\n",
            self.folder.display(),
            self.port,
            users.display(),
        );
        let settings = self.write_file(&format!("pooler-{port}.ini"), &settings)?;
        let running = self.keep(&[program.into(), settings.into()], "KILL", "process up")?;
        Ok(Pooler { port, running: Some(running) })
    }

    /// Runs a program as the server's user until this process ends. Then the program gets this signal. Returns
    /// when its log has this line.
    fn keep(&self, program: &[OsString], signal: &str, ready: &str) -> Result<Running, StartError> {
        let mut command = self.command("sh");
        command.arg("-c").arg(KEEPER).arg("keeper");
        command.arg(&self.folder).arg(signal).args(program);
        let mut shell =
            command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let stdin = shell.stdin.take().expect("it is piped");
        let stderr = shell.stderr.take().expect("it is piped");
        let log = follow(BufReader::new(stderr));
        let mut seen = Vec::new();
        for line in &log {
            if line.contains(ready) {
                // The log is read and thrown away from here on, so that the program never waits for us.
                return Ok(Running { shell, stdin });
            }
            seen.push(line);
        }
        Running { shell, stdin }.end();
        Err(StartError::Failed(format!("it does not start:\n{}", seen.join("\n"))))
    }

    fn create(&self) -> Result<(), StartError> {
        let password = self.write_file("password", PASSWORD)?;
        let output = self
            .command(self.programs.join("initdb"))
            .arg("--pgdata")
            .arg(self.data())
            .arg("--pwfile")
            .arg(password)
            .args(["--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync"])
            .args(["--auth-local=trust", "--auth-host=scram-sha-256"])
            .output()?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(StartError::Failed(format!("initdb fails: {said}")))
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.folder).env("LC_ALL", "C").env("HOME", &self.folder);
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        if let Some(Account { uid, gid }) = self.account {
            command.uid(uid).gid(gid);
        }
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.crash();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Running {
    /// Stops the server, and keeps its folder.
    fn end(mut self) {
        // If the shell has ended already, no message is needed.
        let _ = self.stdin.write_all(b"keep\n");
        drop(self.stdin);
        let _ = self.shell.wait();
    }
}

/// Runs the server until a word arrives on the standard input, or until the input ends. If it ends without a word,
/// the process that started the shell has ended, so the shell removes the folder. The log ends when the server
/// ends.
const KEEPER: &str = r#"
trap "" INT TERM HUP PIPE
folder=$1; signal=$2; shift 2
"$@" &
server=$!
exec 2>/dev/null
word=end
read -r word || word=end
kill -$signal $server
wait $server
[ "$word" = keep ] || rm -rf "$folder"
"#;

/// The started program, or `None` with a message on the standard error. Then the test is skipped. Panics instead
/// if [`REQUIRE`] is set.
///
/// # Panics
/// When it does not start although the package is installed, or the package is required.
pub fn or_skip<T>(started: Result<T, StartError>) -> Option<T> {
    match started {
        Ok(started) => Some(started),
        Err(StartError::Missing(why)) => {
            assert!(env::var_os(REQUIRE).is_none(), "{REQUIRE} is set, and {why}");
            // The test runner does not capture this, unlike the output of `println!`.
            let _ = writeln!(io::stderr(), "SKIPPED: {why}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// The lines of a log. A thread reads them, also when nobody listens any more.
fn follow(log: impl BufRead + Send + 'static) -> Receiver<String> {
    let (send, lines) = channel();
    thread::spawn(move || {
        for line in log.lines().map_while(Result::ok) {
            let _ = send.send(line);
        }
    });
    lines
}

/// Where the programs are: Debian does not have them in PATH.
fn programs() -> Option<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|version| {
            let number = version.file_name().to_str()?.parse().ok()?;
            Some((number, version.path().join("bin")))
        })
        .filter(|(_, folder)| folder.join("initdb").exists())
        .collect();
    found.sort();
    let newest = found.pop().map(|(_, folder)| folder);
    newest.or_else(|| {
        let path = env::var_os("PATH")?;
        env::split_paths(&path).find(|folder| folder.join("initdb").exists())
    })
}

/// The user who runs the server: the present user, unless this is root.
fn account() -> Result<Option<Account>, StartError> {
    if fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(None);
    }
    let accounts = fs::read_to_string("/etc/passwd")?;
    let account = accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == "postgres").then_some(())?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Account { uid, gid })
    });
    account.map(Some).ok_or_else(|| {
        StartError::Failed(
            "PostgreSQL does not run as root, and there is no user `postgres` to run it".into(),
        )
    })
}

/// A folder with a short path, since the path of a socket may have about 100 bytes.
fn new_folder(account: Option<Account>) -> Result<PathBuf, StartError> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let base = Path::new("/tmp");
    let base = if base.is_dir() { base.to_owned() } else { env::temp_dir() };
    loop {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = base.join(format!("bizproc-pg-{}-{n}", process::id()));
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            created => created?,
        }
        if let Some(Account { uid, gid }) = account {
            chown(&folder, Some(uid), Some(gid))?;
        }
        return Ok(folder);
    }
}

/// The processor time of this process so far. `None`: the system does not say.
pub fn own_cpu() -> Option<Duration> {
    Some(Duration::from_millis(10 * ticks(process::id(), 2)?.0))
}

/// The sum of the first `times` of a process, in hundredths of a second, and its parent.
fn ticks(pid: u32, times: usize) -> Option<(u64, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may have spaces and brackets in it.
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let times = fields.get(11..11 + times)?;
    Some((
        times.iter().filter_map(|time| time.parse::<u64>().ok()).sum(),
        fields.get(1)?.parse().ok()?,
    ))
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
