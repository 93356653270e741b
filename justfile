# One-line recipes that call cargo; what they do is in `cargo xtask`.

# list the recipes
default:
    @just --list

# start a persistent JetStream in line with nats-config/
up *FLAGS:
    cargo xtask up {{FLAGS}}

# stop it and keep its data
down:
    cargo xtask down

# prove what survives a restart and a crash
check *FLAGS:
    cargo xtask restart-check {{FLAGS}}

# throughput and latency, every message counted
bench *FLAGS:
    cargo xtask bench {{FLAGS}}

# all tests
test:
    cargo test --workspace

# remove all that is ours, then the build
clean:
    cargo xtask clean --yes
    cargo clean
