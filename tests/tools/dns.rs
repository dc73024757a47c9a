//! dnsq and dnsserve.
