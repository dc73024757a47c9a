//! `dnsq`: see [`applayer::tool::dnsq`].

fn main() -> std::process::ExitCode {
    applayer::tool::dnsq::main()
}
