//! Other languages: the examples of the README, and the rehearsal, as they stand.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

/// The code of the README in this language that uses the interface.
fn snippet(language: &str) -> String {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let section = readme.split("## From other languages").nth(1).unwrap();
    let code = section.split(&format!("```{language}\n")).nth(1).unwrap();
    code.split("```").next().unwrap().to_owned()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a script with the program as its argument; says aloud if there is no interpreter.
fn run(interpreter: &str, script: &Path) -> Option<String> {
    let mut command = Command::new(interpreter);
    command.arg(script).arg(env!("CARGO_BIN_EXE_bizproc-portal"));
    // A proxy of this machine is no way to the portal.
    command.env("NO_PROXY", "*").env("no_proxy", "*");
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => {
            let required = std::env::var("BIZPROC_REQUIRE_JUDGES").is_ok_and(|it| it == "1");
            assert!(!required, "{interpreter}: {error}");
            let notice = format!("SKIPPED: {interpreter} cannot be run: {error}\n");
            std::io::stderr().write_all(notice.as_bytes()).unwrap();
            return None;
        }
    };
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{interpreter}: {said}");
    Some(said)
}

#[test]
fn the_examples_of_the_readme_run_in_each_language() {
    for (language, interpreter, extension) in
        [("python", "python3", "py"), ("js", "node", "mjs"), ("php", "php", "php")]
    {
        let code = snippet(language);
        assert!(code.lines().count() <= 14, "{language}");
        let file = format!("snippet-{}.{extension}", std::process::id());
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(file);
        std::fs::write(&file, code).unwrap();
        let said = run(interpreter, &file);
        std::fs::remove_file(&file).unwrap();
        assert!(said.is_none_or(|said| said.is_empty()), "{language}");
    }
}

#[test]
fn an_application_in_python_is_tested_from_installation_to_removal() {
    if let Some(said) = run("python3", &root().join("examples/rehearsal.py")) {
        assert!(said.ends_with("rehearsal ok\n"), "{said}");
    }
}
