//! `dnsserve`: see [`applayer::tool::dnsserve`].

fn main() -> std::process::ExitCode {
    applayer::tool::dnsserve::main()
}
