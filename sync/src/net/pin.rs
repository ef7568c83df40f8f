//! Accepts exactly one node: the one whose public key has the expected fingerprint.
//!
//! Knows no certificate authority, no name and no date: a wrong clock locks nobody out, and no
//! authority can vouch for another node. Start at [`PinnedNode`].

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use satchel_protocol::id::NodeFingerprint;

/// Verifies that the other end is the pinned node and holds its key.
#[derive(Debug)]
pub(super) struct PinnedNode {
    expected: NodeFingerprint,
    /// Who answered instead, so that the user can be told.
    stranger: OnceLock<NodeFingerprint>,
    provider: Arc<CryptoProvider>,
}

impl PinnedNode {
    pub(super) fn new(expected: NodeFingerprint, provider: Arc<CryptoProvider>) -> Self {
        Self {
            expected,
            stranger: OnceLock::new(),
            provider,
        }
    }

    /// The fingerprint of another node that answered, if one did.
    pub(super) fn stranger(&self) -> Option<NodeFingerprint> {
        self.stranger.get().copied()
    }
}

impl ServerCertVerifier for PinnedNode {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let found = NodeFingerprint::of_public_key_info(&certificate.subject_public_key_info());
        if found == self.expected {
            return Ok(ServerCertVerified::assertion());
        }
        // Set once per connection attempt; a second value would be the same node again.
        self.stranger.set(found).ok();
        Err(Error::InvalidCertificate(
            CertificateError::ApplicationVerificationFailure,
        ))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
