//! Every payload of `corpus.yaml` and `http2.yaml`, through the real binary to ten real servers.
//!
//! `run.py` does it and says what it needs. Without the servers the test is skipped, and says so;
//! `.ci/run` installs them, and then `SERIN_SMUGGLING_PYTHON` names the Python that has them.

#![expect(clippy::unwrap_used, reason = "all of this file is tests")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What `requirements.txt` installs, by the names that are imported.
const PACKAGES: &str = "import aiohttp, cheroot, gunicorn, h11, hpack, httptools, hypercorn, \
                        hyperframe, tornado, twisted, uvicorn, waitress, yaml";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/smuggling")
}

/// The Python that has the servers, or why there is none.
fn python() -> Result<PathBuf, String> {
    let named = std::env::var_os("SERIN_SMUGGLING_PYTHON").map(PathBuf::from);
    let python = named.clone().unwrap_or_else(|| PathBuf::from("python3"));
    let output = Command::new(&python).args(["-c", PACKAGES]).output();
    let why = match output {
        Ok(output) if output.status.success() => return Ok(python),
        Ok(output) => String::from_utf8_lossy(&output.stderr).lines().last().unwrap().to_owned(),
        Err(error) => error.to_string(),
    };
    assert!(named.is_none(), "SERIN_SMUGGLING_PYTHON is {}: {why}", python.display());
    Err(format!("{}: {why}", python.display()))
}

#[test]
fn servers_behind_the_proxy_see_the_requests_that_were_meant() {
    let python = match python() {
        Ok(python) => python,
        Err(why) => {
            // Written past the test runner, which keeps what succeeded to itself.
            let text = format!("\n!! SMUGGLING WAS NOT TESTED: {why}\n   see CONTRIBUTING.md\n\n");
            std::io::stderr().write_all(text.as_bytes()).unwrap();
            return;
        }
    };
    let output = Command::new(python)
        .arg(folder().join("run.py"))
        .args(["--serin", env!("CARGO_BIN_EXE_serin")])
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "\n{}\n{}", text(&output.stdout), text(&output.stderr));
    println!("{}", text(&output.stdout));
}
