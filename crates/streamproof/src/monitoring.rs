//! The monitoring port of a server that one is connected to: where it may be, and whether it is really that server's.

use std::time::Duration;

use streamproof_server::monitor::{self, Varz};

use crate::connect::Connect;
use crate::home::{DEFAULT_MONITOR_PORT, DEFAULT_PORT};

/// A page of a healthy server comes in milliseconds; a port that a firewall swallows says nothing at all.
const BOUND: Duration = Duration::from_secs(2);

/// What a server's monitoring port says of it.
#[derive(Debug, Clone)]
pub struct Monitored {
    /// Where it was found.
    pub address: String,
    /// What it says.
    pub varz: Varz,
}

/// Finds the monitoring port of the server with this id: where it was named, else at the usual places beside its client port. What
/// answers as another server is passed over. Blocks for at most a few seconds.
///
/// # Errors
/// Where it was looked for, and what was found there, in a sentence.
pub fn find(connect: &Connect, server_id: &str, named: Option<&str>) -> Result<Monitored, String> {
    let mut tried = Vec::new();
    for address in places(connect, named) {
        match monitor::varz(&address, BOUND) {
            Ok(varz) if varz.server_id == server_id => return Ok(Monitored { address, varz }),
            Ok(varz) => tried.push(format!("{address} is of another server ({})", varz.server_name)),
            Err(error) => tried.push(format!("{address}: {error}")),
        }
    }
    Err(tried.join("; "))
}

fn places(connect: &Connect, named: Option<&str>) -> Vec<String> {
    if let Some(named) = named {
        let rest = named.rsplit_once("://").map_or(named, |(_, rest)| rest);
        return vec![rest.split('/').next().unwrap_or_default().to_owned()];
    }
    let mut places = Vec::new();
    for (host, port) in connect.hosts() {
        let beside = port.checked_add(DEFAULT_MONITOR_PORT - DEFAULT_PORT);
        for port in [Some(DEFAULT_MONITOR_PORT), beside].into_iter().flatten() {
            let place =
                if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
            if !places.contains(&place) {
                places.push(place);
            }
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_looked_for_beside_the_client_port() {
        let at = |url: &str| places(&Connect::to(url), None);
        assert_eq!(at("nats://127.0.0.1:4222"), ["127.0.0.1:8222"]);
        assert_eq!(at("u:p@a:5000,tls://[::1]:4222/"), ["a:8222", "a:9000", "[::1]:8222"]);
        assert_eq!(at("nats://h:65000"), ["h:8222"]);
        assert_eq!(places(&Connect::to("h"), Some("http://x:1/varz")), ["x:1"]);
    }
}
