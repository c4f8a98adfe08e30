//! TLS towards HTTP servers, as a transform at the socket's edge: the worker sees plaintext.

use mio::net::TcpStream;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::path::Path;
use std::sync::Arc;

/// What every TLS connection begins with: whom to trust, and which protocols to speak.
///
/// Trusted are the roots that browsers trust, and on top of them the certificates in `further`, a PEM
/// file (the shell hands in `SSL_CERT_FILE`).
///
/// # Errors
/// A fact about `further`: it cannot be read, or holds something that is no certificate.
pub(super) fn client_config(further: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    if let Some(file) = further {
        let certificates = CertificateDer::pem_file_iter(file)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| format!("SSL_CERT_FILE {file:?}: {error}"))?;
        // Some distributions ship expired or exotic roots among the others; those are left out.
        let (taken, _) = roots.add_parsable_certificates(certificates);
        if taken == 0 {
            return Err(format!(
                "SSL_CERT_FILE {file:?} holds no usable certificate"
            ));
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider speaks TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// A TCP connection with TLS on it, and what of it has not been sent yet.
#[derive(Debug)]
pub(super) struct TlsStream {
    tcp: TcpStream,
    session: ClientConnection,
}

impl TlsStream {
    /// Begins a handshake with the server that calls itself `host`, on an open connection.
    ///
    /// # Errors
    /// A fact: the name is none that a certificate could prove.
    pub(super) fn new(
        tcp: TcpStream,
        host: &str,
        config: Arc<ClientConfig>,
    ) -> Result<TlsStream, String> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("{host:?} is no name that a certificate could prove"))?;
        let session = ClientConnection::new(config, name).map_err(|error| error.to_string())?;
        Ok(TlsStream { tcp, session })
    }

    /// The connection below.
    pub(super) fn tcp(&mut self) -> &mut TcpStream {
        &mut self.tcp
    }

    /// Takes the handshake as far as the bytes that are there allow; true when it is done.
    pub(super) fn handshake(&mut self) -> io::Result<bool> {
        loop {
            // What we have to say first, or the peer's silence would be our own doing.
            match self.push() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                pushed => pushed?,
            }
            if !self.session.is_handshaking() {
                return Ok(true);
            }
            match self.pull() {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether bytes wait that the kernel did not take.
    pub(super) fn has_unsent(&self) -> bool {
        self.session.wants_write()
    }

    /// Sends what waits; [`ErrorKind::WouldBlock`] if the kernel does not take all of it.
    pub(super) fn push(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            self.session.write_tls(&mut self.tcp)?;
        }
        Ok(())
    }

    /// Reads from the socket and opens what came; 0 is the end of the connection below.
    fn pull(&mut self) -> io::Result<usize> {
        let length = self.session.read_tls(&mut self.tcp)?;
        if let Err(error) = self.session.process_new_packets() {
            // The alert tells the peer why; whether it arrives does not matter to us.
            let _ = self.push();
            return Err(io::Error::new(ErrorKind::InvalidData, error));
        }
        Ok(length)
    }

    /// Reads plaintext. 0 is an end that the peer declared; one that it did not is
    /// [`ErrorKind::UnexpectedEof`], since somebody may have cut it.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
            // Nothing new here is for the reader to say: it knows whether this end was declared.
            self.pull()?;
            match self.push() {
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
    }

    /// Takes plaintext; how many bytes are taken depends on how many wait already.
    pub(super) fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.push()?;
        let taken = self.session.writer().write_vectored(slices)?;
        match self.push() {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ if taken == 0 => Err(ErrorKind::WouldBlock.into()),
            _ => Ok(taken),
        }
    }

    /// Declares the end and sends as much of that as the kernel takes now.
    pub(super) fn close(&mut self) {
        self.session.send_close_notify();
        let _ = self.push();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_roots_are_trusted_without_any_file() {
        assert!(client_config(None).is_ok());
    }

    #[test]
    fn file_without_certificates_is_told_by_name() {
        let check = |file: &str, expected: &str| {
            let error = client_config(Some(Path::new(file))).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        };
        check("/no/such/file", "SSL_CERT_FILE \"/no/such/file\": ");
        check(
            "/dev/null",
            "SSL_CERT_FILE \"/dev/null\" holds no usable certificate",
        );
    }
}
