//! The portal by its name: in every answer and request, after a move, and without a port.

use bizproc_portal::Portal;
use serde_json::json;

use crate::application::Application;
use crate::client::{Answer, request};

/// A call that came by this name, wherever it was led.
fn call_as(portal: &Portal, name: &str, path: &str) -> Answer {
    let url = portal.page_url() + path;
    // The first Host header of this client is that of the address, so this one needs its own.
    let host = url.trim_start_matches("http://").split('/').next().unwrap().to_owned();
    let bytes = format!("GET /{path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    std::io::Write::write_all(&mut stream, bytes.as_bytes()).unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut stream, &mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head[9..12].parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

fn location(answer: &Answer) -> &str {
    answer.head.lines().find_map(|line| line.strip_prefix("location: ")).unwrap_or_default()
}

fn port(portal: &Portal) -> String {
    portal.page_url().trim_end_matches('/').rsplit(':').next().unwrap().to_owned()
}

#[test]
fn the_portals_name_is_in_every_answer_and_request_and_a_move_changes_it() {
    let portal = Portal::builder().domain("acme.example").start().unwrap();
    let application = Application::start();
    let app = portal.app();
    let port = port(&portal);
    let told = || {
        portal.start_workflow("Order").activity("check").handler(&application.url).open();
        let request = application.next();
        ["auth[domain]", "auth[client_endpoint]", "auth[member_id]", "auth[application_token]"]
            .map(|name| request.told(name).to_owned())
    };
    let before = told();
    assert_eq!(before[0], format!("acme.example:{port}"));
    assert_eq!(before[1], format!("http://acme.example:{port}/rest/"));
    let renew = || {
        let query = format!(
            "?grant_type=refresh_token&client_id={}&client_secret={}&refresh_token={}",
            app.client_id(),
            app.client_secret(),
            app.issue_tokens().refresh_token
        );
        request(&(portal.oauth_url() + &query), "GET", &[], b"").unwrap().json()
    };
    assert_eq!(renew()["client_endpoint"], before[1]);

    portal.move_away().unwrap();
    let after = told();
    assert_eq!(after[0], format!("moved-1.acme.example:{port}"));
    assert_eq!((&after[2], &after[3]), (&before[2], &before[3]));
    assert_eq!(renew()["client_endpoint"], after[1]);
    let led = call_as(&portal, "acme.example", "rest/server.time?auth=x");
    let there = format!("http://moved-1.acme.example:{port}/rest/server.time?auth=x");
    assert_eq!((led.status, location(&led)), (302, &*there));
    assert_eq!(call_as(&portal, "moved-1.acme.example", "rest/server.time").status, 401);
    portal.move_to("acme.example").unwrap();
    assert_eq!(call_as(&portal, "acme.example", "rest/server.time").status, 401);
    assert_eq!(call_as(&portal, "moved-1.acme.example", "rest/server.time").status, 302);
    // The page is there by the portal's own name, and by no other.
    assert_eq!(call_as(&portal, "acme.example", "").status, 200);
    assert_eq!(call_as(&portal, "elsewhere.example", "").status, 403);
}

#[test]
fn a_regional_authorization_server_is_named_and_answers_for_the_applications_of_every_portal() {
    let first = Portal::builder().oauth_host("oauth.example").start().unwrap();
    let second = Portal::builder().beside(&first).oauth_host("oauth.example").start().unwrap();
    let app = first.install_app();
    let there = second.install_known_app(&app);
    let application = Application::start();
    second.start_workflow("Order").activity("a").handler(&application.url).app(&there).open();
    let told = application.next();
    let endpoint = format!("http://oauth.example:{}/rest/", port(&second));
    assert_eq!(told.told("auth[server_endpoint]"), endpoint);
    // Asked at the first portal's address, by the name of the server.
    let token = told.told("auth[access_token]");
    let info = call_as(&first, "oauth.example", &format!("rest/app.info?auth={token}"));
    assert_eq!(info.json()["result"]["CODE"], app.client_id());
    assert_eq!(info.json()["result"]["INSTALLED"], true);
    let other = call_as(&first, "oauth.example", &format!("rest/server.time?auth={token}"));
    assert_eq!(other.error().1, "ERROR_METHOD_NOT_FOUND");
    let portal = call_as(&first, "127.0.0.1", &format!("rest/app.info?auth={token}"));
    assert_eq!(portal.error().1, "invalid_token");
    let query = format!(
        "oauth/token/?grant_type=refresh_token&client_id={}&client_secret={}&refresh_token={}",
        app.client_id(),
        app.client_secret(),
        told.told("auth[refresh_token]")
    );
    let renewed = call_as(&first, "oauth.example", &query).json();
    assert_eq!(renewed["domain"], "oauth.example");
    assert_eq!(renewed["server_endpoint"], format!("http://oauth.example:{}/rest/", port(&first)));
    assert_eq!(renewed["member_id"], second.member_id());
    assert_eq!(json!(second.client_endpoint()), renewed["client_endpoint"]);
}

/// What runs in the namespace: a client that knows the name and drops every port.
#[cfg(target_os = "linux")]
const CLIENT: &str = r#"
import json, ssl, subprocess, sys, urllib.request
program = subprocess.Popen(
    [sys.argv[1], "--json", "--port", "80", "--tls-port", "443", "--host-name", "acme.example"],
    stdout=subprocess.PIPE)
try:
    told = json.loads(program.stdout.readline())
    context = ssl.create_default_context(cafile=told["ca_file"])
    def call(url, body):
        request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        return json.load(urllib.request.urlopen(request, context=context))
    code = told["webhook"].rstrip("/").rsplit("/", 1)[1]
    line = {"EVENT_TOKEN": told["workflow"]["event_token"], "LOG_MESSAGE": "by name"}
    print(call(f"https://acme.example/rest/1/{code}/bizproc.activity.log", line)["result"])
    secrets = call("http://127.0.0.1/api/apps", {"own": True})
    page = json.load(urllib.request.urlopen("http://127.0.0.1/api/apps/" + secrets["client_id"] + "/secrets"))
    query = "?grant_type=refresh_token" + "".join(
        f"&{name}={page[name]}" for name in ("client_id", "client_secret", "refresh_token"))
    renewed = json.load(urllib.request.urlopen("https://acme.example/oauth/token/" + query, context=context))
    print(renewed["client_endpoint"])
    print(call(renewed["client_endpoint"] + "app.info", {"auth": renewed["access_token"]})["result"]["INSTALLED"])
finally:
    program.terminate()
    program.wait()
"#;

#[cfg(target_os = "linux")]
#[test]
fn on_the_usual_ports_addresses_have_no_port() {
    use std::io::Write as _;
    // A network and mounts of its own: there the ports are free, and the name leads to loopback.
    let script = "ip link set lo up && printf '127.0.0.1 localhost acme.example\\n' > \"$HOSTS\" \
                  && mount --bind \"$HOSTS\" /etc/hosts && exec python3 -c \"$CLIENT\" \"$PROGRAM\"";
    let hosts = format!("{}/hosts-{}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    let output = std::process::Command::new("unshare")
        .args(["--net", "--mount", "--map-root-user", "sh", "-c", script])
        .env("HOSTS", &hosts)
        .env("CLIENT", CLIENT)
        .env("PROGRAM", env!("CARGO_BIN_EXE_bizproc-portal"))
        .env("NO_PROXY", "*")
        .output();
    drop(std::fs::remove_file(&hosts));
    let output = match output {
        Ok(output) if output.status.success() => output,
        failed => {
            let why = match failed {
                Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
                Err(error) => error.to_string(),
            };
            // A failure of the client itself is one of the portal's.
            assert!(!why.contains("Traceback"), "{why}");
            let required = std::env::var("BIZPROC_REQUIRE_NAMESPACES").is_ok_and(|it| it == "1");
            assert!(!required, "{why}");
            let notice = format!("SKIPPED: no namespaces here to test the usual ports in: {why}\n");
            std::io::stderr().write_all(notice.as_bytes()).unwrap();
            return;
        }
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said, "True\nhttps://acme.example/rest/\nTrue\n");
}
