//! The socket below the wire: plain, or with TLS once the server has said that it wants it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::WireError;

/// Whom a connection trusts, and the certificate that it shows; each a PEM file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// Who signs the server's certificate; without it, whom the system trusts.
    pub ca: Option<PathBuf>,
    /// Our certificate, and those between it and its authority.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

/// A socket.
#[derive(Debug)]
pub(super) enum Socket {
    /// As it is.
    Plain(TcpStream),
    /// Under TLS.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Socket {
    /// The connection itself, for its limits and its end.
    pub(super) fn tcp(&self) -> &TcpStream {
        match self {
            Socket::Plain(tcp) => tcp,
            Socket::Tls(tls) => tls.get_ref(),
        }
    }

    /// The same connection under TLS, after the handshake.
    ///
    /// # Errors
    /// [`WireError::Tls`]: a file that cannot be read, or a server that is not trusted or does not trust us.
    pub(super) fn secured(
        &self,
        address: SocketAddr,
        tls: &Tls,
        until: Instant,
    ) -> Result<Socket, WireError> {
        let mut tcp = self.tcp().try_clone()?;
        let name = ServerName::from(address.ip());
        let mut connection = ClientConnection::new(Arc::new(config(tls)?), name).map_err(refused)?;
        while connection.is_handshaking() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(WireError::Tls("the handshake did not end in time".to_owned()));
            }
            tcp.set_read_timeout(Some(left))?;
            connection.complete_io(&mut tcp).map_err(refused)?;
        }
        Ok(Socket::Tls(Box::new(StreamOwned::new(connection, tcp))))
    }
}

impl Read for Socket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Plain(tcp) => tcp.read(into),
            Socket::Tls(tls) => tls.read(into),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Plain(tcp) => tcp.write(from),
            Socket::Tls(tls) => tls.write(from),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Socket::Plain(tcp) => tcp.flush(),
            Socket::Tls(tls) => tls.flush(),
        }
    }
}

fn refused(error: impl std::fmt::Display) -> WireError {
    WireError::Tls(error.to_string())
}

fn config(tls: &Tls) -> Result<ClientConfig, WireError> {
    let mut roots = RootCertStore::empty();
    match &tls.ca {
        Some(ca) => {
            for certificate in certificates(ca)? {
                roots.add(certificate).map_err(|error| refused(format!("{}: {error}", ca.display())))?;
            }
        }
        // One that cannot be read is not trusted; the others are.
        None => _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs),
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(refused)?
        .with_root_certificates(roots);
    match (&tls.cert, &tls.key) {
        (Some(cert), Some(key)) => {
            let secret = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| refused(format!("{}: {error}", key.display())))?;
            builder.with_client_auth_cert(certificates(cert)?, secret).map_err(refused)
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, WireError> {
    let wrong = |error: rustls::pki_types::pem::Error| refused(format!("{}: {error}", file.display()));
    CertificateDer::pem_file_iter(file).map_err(wrong)?.collect::<Result<_, _>>().map_err(wrong)
}
