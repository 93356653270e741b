//! Scratch servers: ready at once, kept across restarts, gone with their process.

use streamproof_server::Scratch;

#[test]
fn a_scratch_server_is_ready_keeps_its_port_and_is_gone_on_drop() {
    let mut server = Scratch::new().unwrap();
    let (url, pid) = (server.url(), server.pid().unwrap());
    server.restart().unwrap();
    assert_eq!(server.url(), url);
    assert_ne!(server.pid().unwrap(), pid);
    server.restart_killed().unwrap();
    assert_eq!(server.url(), url);
    let folder = server.log_path().parent().unwrap().to_owned();
    let pid = server.pid().unwrap();
    drop(server);
    assert!(!folder.exists());
    assert_eq!(streamproof_server::processes::one(pid), None);
}
