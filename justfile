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

# the proof: what survives a restart or a crash, on scratch servers
check *FLAGS:
    cargo xtask restart-check {{FLAGS}}

# all tests
test:
    cargo test --workspace

# throughput and latency of a release build, every message counted; `just bench --peer` beside the nats CLI
bench *FLAGS:
    cargo xtask bench {{FLAGS}}

# remove all that is ours, then the build
clean:
    cargo xtask clean --yes
    cargo clean
