//! Workers that are killed, unloaded, or left alone by their program.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use satchel_inference::{EngineError, StreamEvent};

use crate::rig::*;

pub(crate) fn a_killed_worker_is_an_error_within_a_second() {
    let Some(engine) = chat_engine(4096) else {
        return;
    };
    run(async {
        let mut stream = engine
            .generate(ask(user("Count from 1 to 1000."), 2000))
            .await
            .unwrap();
        while !matches!(stream.next().await.unwrap().unwrap(), StreamEvent::Text(_)) {}
        let pid = engine.worker_pid().unwrap();
        kill(pid);
        let begin = Instant::now();
        let error = loop {
            match stream.next().await.unwrap() {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        println!("  error after {:?}: {error}", begin.elapsed());
        assert!(begin.elapsed() < Duration::from_secs(1));
        assert!(
            matches!(error, EngineError::WorkerDied { .. }) && error.is_retryable(),
            "{error}"
        );
        assert!(stream.next().await.is_none());

        let next = answer(&engine, ask(user("Say hello."), 10)).await.unwrap();
        assert!(!next.text.is_empty());
        assert_ne!(engine.worker_pid(), Some(pid));

        // A worker that dies while nobody asks is not noticed at all.
        kill(engine.worker_pid().unwrap());
        tokio::time::timeout(Duration::from_secs(1), async {
            while engine.worker_pid().is_some() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("the death is not seen");
        assert!(
            !answer(&engine, ask(user("Say hello."), 10))
                .await
                .unwrap()
                .text
                .is_empty()
        );
    });
}

pub(crate) fn unloading_frees_the_process() {
    let Some(engine) = chat_engine(512) else {
        return;
    };
    run(async {
        let stream = engine
            .generate(ask(user("Count from 1 to 1000."), 400))
            .await
            .unwrap();
        let pid = engine.worker_pid().unwrap();
        let mut stream = stream;
        while !matches!(stream.next().await.unwrap().unwrap(), StreamEvent::Text(_)) {}
        engine.unload().await;
        assert!(!is_running(pid));
        assert_eq!(engine.worker_pid(), None);
        let error = loop {
            match stream.next().await.unwrap() {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(error, EngineError::Unloaded);

        // Dropping the last handle does the same, while a stream is still held.
        let stream = engine
            .generate(ask(user("Count from 1 to 1000."), 400))
            .await
            .unwrap();
        let pid = engine.worker_pid().unwrap();
        drop(engine);
        wait_until_gone(pid).await;
        drop(stream);
    });
}

/// A program that is killed takes its busy worker with it.
pub(crate) fn a_worker_ends_with_its_program() {
    if chat_engine(512).is_none() {
        return;
    }
    use std::io::{BufRead, BufReader};
    let mut program = Command::new(std::env::current_exe().unwrap())
        .args(["helper", "hold_a_worker"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(program.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let pid: u32 = line.trim().parse().unwrap();
    assert!(is_running(pid));
    program.kill().unwrap();
    program.wait().unwrap();
    run(wait_until_gone(pid));
}

/// Prints the id of a worker that is in the middle of a long answer, and waits to be killed.
pub(crate) fn hold_a_worker() {
    let engine = chat_engine(4096).unwrap();
    run(async {
        let mut stream = engine
            .generate(ask(user(&prose(3000)), 1000))
            .await
            .unwrap();
        stream.next().await.unwrap().unwrap();
        println!("{}", engine.worker_pid().unwrap());
        while stream.next().await.is_some() {}
        std::future::pending::<()>().await;
    });
}

fn kill(pid: u32) {
    assert!(
        Command::new("kill")
            .args(["-9", &pid.to_string()])
            .status()
            .unwrap()
            .success()
    );
}

/// Whether a process is there and not only waiting to be buried.
fn is_running(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    let state = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    state != Some('Z')
}

async fn wait_until_gone(pid: u32) {
    tokio::time::timeout(Duration::from_secs(2), async {
        while is_running(pid) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the worker is still there");
}
