//! Get nats-server, run it as a process or in Docker, wait until it is ready, stop it. Blocking, no tokio.
