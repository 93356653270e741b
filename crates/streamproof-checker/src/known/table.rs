//! The table of known defects: what each looks like, where it is, and how to see it by hand.

use super::Defect;
use crate::rules::Retention;
use crate::verdict::Invariant;
use crate::version::Version;
use streamproof_model::op::FaultKind;

/// The table. More particular rows come before more general ones: the first that fits gives the name. The first version of a
/// range is the oldest that is served (2.10.0) where nobody has looked for its beginning.
pub const TABLE: &[Defect] = &[
    Defect {
        name: "first-seq-emptied",
        seen: "a stream with `first_seq` is empty after a plain restart",
        shows: &[(Invariant::M1, "lost all")],
        faults: &[],
        retention: None,
        first_seq: true,
        versions: &[(Version::new(2, 10, 0), Some(Version::new(2, 11, 2)))],
        issue: "nats-server #6753",
        reproduction: r#"
nats req '$JS.API.STREAM.CREATE.F' '{"name":"F","subjects":["f.*"],"storage":"file","num_replicas":1,"first_seq":1000}'
nats pub f.x --count 5 hello
stop, start
nats stream info F        # no messages; before: 5"#,
        tried: "2.10.25, 2.11.0, 2.11.1: emptied; 2.11.2: all there",
    },
    Defect {
        name: "creation-time-changes",
        seen: "a stream's creation time changes over restart, update, restart",
        shows: &[(Invariant::K3, "stream's creation time changed")],
        faults: &[],
        retention: None,
        first_seq: false,
        versions: &[(Version::new(2, 10, 0), Some(Version::new(2, 14, 6)))],
        issue: "nats-server #8471",
        reproduction: r#"
nats stream add A --subjects 'a.*' --defaults
nats stream info A --json | grep created
stop, start
nats stream edit A --description changed --force
stop, start
nats stream info A --json | grep created        # another time"#,
        tried: "2.10.25, 2.11.11, 2.12.1, 2.14.5: changed; 2.14.6, 2.15.1: the same",
    },
    Defect {
        name: "consumer-creation-time-changes",
        seen: "a consumer's creation time changes over restart, update, restart",
        shows: &[(Invariant::K3, "consumer's creation time changed")],
        faults: &[],
        retention: None,
        first_seq: false,
        versions: &[(Version::new(2, 10, 0), Some(Version::new(2, 15, 1)))],
        issue: "the same as nats-server #8471, for consumers",
        reproduction: r#"
nats stream add A --subjects 'a.*' --defaults
nats consumer add A R --pull --defaults
nats consumer info A R --json | grep created
stop, start
nats consumer edit A R --description changed --force
stop, start
nats consumer info A R --json | grep created        # another time"#,
        tried: "2.10.25, 2.11.11, 2.12.1, 2.14.6, 2.15.0: changed; 2.15.1: the same",
    },
    Defect {
        name: "drained-queue-forgets",
        seen: "a drained work queue forgets its last sequence at a crash, and its consumer waits for ever",
        shows: &[
            (Invariant::M7, "last sequence fell"),
            (Invariant::M6, "sequence used again, by an emptied stream"),
        ],
        faults: CRASHES,
        retention: Some(Retention::WorkQueue),
        first_seq: false,
        versions: &[
            (Version::new(2, 10, 0), Some(Version::new(2, 11, 11))),
            (Version::new(2, 12, 0), Some(Version::new(2, 12, 1))),
        ],
        issue: "nats-server #7384",
        reproduction: r#"
nats stream add JOBS --subjects 'jobs.*' --retention work --max-bytes 100000 --defaults
nats consumer add JOBS WORKER --pull --ack explicit --wait 1s --defaults
nats pub jobs.x --count 1300 work
nats consumer next JOBS WORKER --no-ack         # the first stays for later
nats consumer next JOBS WORKER --count 1299
sleep 1.5
nats consumer next JOBS WORKER                  # the first again, and its ack: now the queue is empty
kill -9, start
nats stream info JOBS                           # last sequence 402; before: 1300
nats pub jobs.x more
nats consumer next JOBS WORKER                  # nothing comes"#,
        tried: "2.10.25, 2.11.0, 2.11.10: 402, and nothing comes; 2.11.11, 2.12.1: 1300, and it comes",
    },
    Defect {
        name: "duplicates-forgotten",
        seen: "after a crash the server knows no message ids any more, if the newest message had been erased: what is sent again is \
               stored again",
        shows: &[(Invariant::M10, "stored again, newest deleted")],
        faults: &[],
        retention: None,
        first_seq: false,
        versions: &[(Version::new(2, 10, 0), None)],
        issue: "not reported yet; stream.go:rebuildDedupe asks filestore.go:GetSeqFromTime, which skips a block whose last message is erased",
        reproduction: r#"
nats stream add D --subjects 'd.*' --dupe-window 2m --defaults
for i in 1 2 3 4 5; do nats req d.x hello -H Nats-Msg-Id:m$i --raw; done
nats stream rmm D 5 --force
nats req d.x hello -H Nats-Msg-Id:m2 --raw        # "seq":2,"duplicate": true
kill -9, start
nats req d.x hello -H Nats-Msg-Id:m2 --raw        # "seq":6"#,
        tried: "2.10.25, 2.11.11, 2.14.6, 2.15.1: stored again; with a graceful stop, or a delete without erasing, a duplicate",
    },
    Defect {
        name: "evicted-returns",
        seen: "messages that a limit had removed are back after a crash: an old value of a key, a lower first sequence",
        shows: &[(Invariant::M7, "returned, evicted"), (Invariant::M7, "first sequence fell, evicted")],
        faults: CRASHES,
        retention: None,
        first_seq: false,
        versions: &[(Version::new(2, 10, 0), None)],
        issue: "not reported yet; filestore.go:removeMsgFromBlock writes no tombstone for what a limit removes",
        reproduction: r#"
nats kv add X --history 1
nats kv put X k old
nats kv put X k new
nats kv put X other x
nats req '$JS.API.STREAM.PURGE.KV_X' '{"filter":"$KV.X.k"}'
kill -9, start
nats kv get X k --raw        # old; before: not found

nats stream add B --subjects 'b.*' --max-bytes 100000 --defaults
nats pub b.x --count 400 "$(head -c 300 /dev/zero | tr '\0' x)"
for seq in 395 396 397 398; do nats stream rmm B $seq --force; done
kill -9, start
nats stream info B           # the first sequence is lower than before"#,
        tried: "2.11.11, 2.14.6, 2.15.1: both; 2.10.25: the second",
    },
    Defect {
        name: "acks-forgotten",
        seen: "a consumer forgets all its acks, if the server or the power goes while its state is written",
        shows: &[(Invariant::C3, "below what was acked"), (Invariant::C3, "ack floor fell to nothing")],
        faults: IN_THE_MIDDLE,
        retention: None,
        first_seq: false,
        versions: &[
            (Version::new(2, 10, 0), Some(Version::new(2, 11, 11))),
            (Version::new(2, 12, 0), Some(Version::new(2, 12, 1))),
        ],
        issue: "mended by nats-server #7388; filestore.go:writeFileWithSync emptied o.dat and then wrote it",
        reproduction: r#"
nats stream add A --subjects 'a.*' --defaults
nats consumer add A R --pull --ack explicit --defaults
nats pub a.x --count 5 hello
nats consumer next A R --count 5
sleep 1
file=$STORE/jetstream/'$G'/streams/A/obs/R/o.dat     # kill -9 at the next write to it, or to what takes its place:
strace -f -p $PID -P "$file" -P "$file.tmp" -e trace=write -e inject=write:signal=KILL &
nats pub a.x more
nats consumer next A R
start
nats consumer info A R        # ack floor 0; before: 5"#,
        tried: "2.10.25, 2.11.10: 0; 2.11.11, 2.12.1: 5",
    },
    Defect {
        name: "purge-forgets",
        seen: "a stream begins at 1 again, with its consumers ahead of it, if the server or the power goes while it is purged",
        shows: &[
            (Invariant::M7, "last sequence fell, empty"),
            (Invariant::M6, "sequence used again, by an emptied stream"),
        ],
        faults: IN_THE_MIDDLE,
        retention: None,
        first_seq: false,
        versions: &[(Version::new(2, 10, 0), Some(Version::new(2, 14, 0)))],
        issue: "mended by nats-server #7676; filestore.go:purge moved all blocks away before it wrote where the stream goes on",
        reproduction: r#"
nats stream add A --subjects 'a.*' --defaults
nats consumer add A R --pull --ack explicit --defaults
nats pub a.x --count 5 hello
nats consumer next A R --count 5
sleep 1
folder=$STORE/jetstream/'$G'/streams/A/msgs     # kill -9 between its being moved away and made anew:
strace -f -p $PID -P "$folder" -e trace=mkdirat -e inject=mkdirat:signal=KILL &
nats stream purge A -f
start
nats stream info A            # last sequence 0; before: 5
nats pub a.x more
nats consumer next A R        # nothing comes"#,
        tried: "2.10.25, 2.11.11, 2.12.1, 2.12.8: 0, and nothing comes; 2.14.0: 5, killed at any rename (trace=renameat)",
    },
    Defect {
        name: "removed-returns",
        seen: "messages that were acked in a work queue, or deleted, are back after a crash, if the server had been restarted between",
        shows: &[
            (Invariant::M7, "returned, gone at a stop"),
            (Invariant::M7, "first sequence fell, gone at a stop"),
            (Invariant::C9, "acked and still there, gone at a stop"),
        ],
        faults: CRASHES,
        retention: None,
        first_seq: false,
        versions: &[(Version::new(2, 14, 0), None)],
        issue: "not reported yet; filestore.go:recoverFullState leaves out a block that has only tombstones left, and its file \
                stays; the tombstones of what that file holds are then cleaned up (syncBlocks, Compact), and a recovery without \
                the index reads the file again",
        reproduction: r#"
nats stream add J --subjects 'j.*' --retention work --max-bytes 100000 --defaults
nats consumer add J W --pull --ack explicit --wait 1h --defaults
nats pub j.x --count 400 "$(head -c 100 /dev/zero | tr '\0' x)"
nats consumer next J W --no-ack                 # the first stays for later
nats consumer next J W --count 399
stop, start
nats pub j.x more && nats consumer next J W
nats pub j.x last
nats req '$JS.API.STREAM.PURGE.J' '{"seq":402}' # without it, the same a sync_interval later
nats consumer next J W
nats stream info J                              # no messages
kill -9, start
nats stream info J                              # 42 messages, from sequence 359: all had been acked"#,
        tried: "2.14.0, 2.14.1, 2.14.4, 2.14.6, 2.15.1: 42 are back; 2.10.25, 2.11.0, 2.11.11, 2.12.1, 2.12.8: none. Without the purge, \
                with `sync_interval: 2s` and some seconds of waiting: 42 on 2.15.1",
    },
    Defect {
        name: "last-of-block-returns",
        seen: "an acked message of a work queue is back after a crash, alone, and delivered again: the last that was left of its block",
        shows: &[(Invariant::C9, "acked and still there, alone"), (Invariant::C1, "redelivered, alone back")],
        faults: CRASHES,
        retention: Some(Retention::WorkQueue),
        first_seq: false,
        versions: &[(Version::new(2, 14, 0), None)],
        issue: "not reported yet; filestore.go:removeMsgFromBlock writes no tombstone for the last message of a block, and \
                removeMsgBlock keeps the block's file where it holds tombstones of earlier blocks",
        reproduction: r#"
nats stream add J --subjects 'j.*' --retention work --max-bytes 100000 --defaults
nats consumer add J W --pull --ack explicit --wait 3s --defaults
nats pub j.x --count 400 "$(head -c 100 /dev/zero | tr '\0' x)"
nats consumer next J W --no-ack                 # 1 stays for later
nats consumer next J W --count 298
nats consumer next J W --no-ack                 # 300 too
nats consumer next J W --count 100              # up to 400
sleep 4
nats consumer next J W --no-ack                 # 1 again
nats consumer next J W                          # 300 again, and its ack
nats stream info J                              # 1 message
kill -9, start
nats stream info J                              # 2 messages: 300 is back"#,
        tried: "2.14.0, 2.14.6, 2.15.1: 300 is back; 2.10.25, 2.11.11, 2.12.8: all of the first block are, 239 that had been acked",
    },
    Defect {
        name: "emptied-block-returns",
        seen: "messages that were deleted, or purged by their subject, are back after a crash: those whose removal left nothing of \
               their block",
        shows: &[(Invariant::M7, "returned, alone"), (Invariant::M7, "returned, purged together")],
        faults: CRASHES,
        retention: None,
        first_seq: false,
        versions: &[(Version::new(2, 14, 0), None)],
        issue: "not reported yet; filestore.go:PurgeEx and removeMsgFromBlock write no tombstones for what empties a block, and \
                removeMsgBlock keeps the block's file where it holds tombstones of earlier blocks",
        reproduction: r#"
nats stream add A --subjects 'a.*' --max-bytes 100000 --defaults
nats pub a.keep first
nats pub a.x --count 239 "$(head -c 100 /dev/zero | tr '\0' x)"
nats stream purge A --subject a.x -f            # tombstones of the first block, in the second
nats pub a.y --count 200 "$(head -c 100 /dev/zero | tr '\0' x)"
nats pub a.z last
nats stream purge A --subject a.y -f
nats stream info A                              # 2 messages
kill -9, start
nats stream info A                              # 189 messages: 187 of a.y are back

# Or, in place of the second purge: all but the last of the second block, and then that
nats req '$JS.API.STREAM.PURGE.A' '{"filter":"a.y","seq":427}'
nats req '$JS.API.STREAM.MSG.DELETE.A' '{"seq":427,"no_erase":true}'
nats stream info A                              # 15 messages
kill -9, start
nats stream info A                              # 16 messages: 427 is back"#,
        tried: "2.14.0, 2.14.6, 2.15.1: 187, and 427; a deletion that erases (`nats stream rmm`) holds. 2.10.25, 2.11.11, 2.12.8: \
                234 messages of the first block are back instead, since their tombstones went with the file of the second \
                (mended in 2.14.0 by nats-server #7387; findings of it have no name, unless they are of `before-first-returns`)",
    },
    Defect {
        name: "before-first-returns",
        seen: "messages that were acked, deleted or purged are back after a crash: those below the first message of the stream, in its \
               block, if a later block was emptied",
        shows: &[
            (Invariant::C9, "acked and still there, before the first"),
            (Invariant::M7, "returned, before the first"),
            (Invariant::M7, "first sequence fell, before the first"),
        ],
        faults: CRASHES,
        retention: None,
        first_seq: false,
        versions: &[(Version::new(2, 10, 0), None)],
        issue: "not reported yet; filestore.go:removeMsgBlock deletes the file of an emptied block with the tombstones in it, and \
                numPriorTombsLocked (since 2.14.0) takes none for needed that lies below the first message, though the file of that \
                one's block holds what they stand for",
        reproduction: r#"
nats stream add J --subjects 'j.*' --retention work --max-bytes 100000 --defaults
nats consumer add J W --pull --ack explicit --wait 1h --defaults
nats pub j.x --count 450 "$(head -c 100 /dev/zero | tr '\0' x)"
nats consumer next J W --count 200              # 1 to 200
nats consumer next J W --no-ack --count 40      # 201 to 240 stay
nats pub j.x last
nats consumer next J W --count 210              # 241 to 450: the second block is empty
nats stream info J                              # 41 messages, from sequence 201
kill -9, start
nats stream info J                              # 176 messages, from sequence 1"#,
        tried: "2.10.25, 2.11.11, 2.12.8, 2.14.0, 2.14.6, 2.15.1: 135 are back; after a graceful stop none",
    },
    Defect {
        name: "wrong-first-returns",
        seen: "messages that were acked, deleted or purged are back after a graceful restart, if the stream had been purged up to a \
               sequence: those that a crash would have brought back",
        shows: &[
            (Invariant::C9, "acked and still there, wrong first"),
            (Invariant::M7, "returned, wrong first"),
            (Invariant::M7, "first sequence fell, wrong first"),
        ],
        faults: &[],
        retention: None,
        first_seq: false,
        versions: &[(Version::new(2, 14, 0), None)],
        issue: "not reported yet; filestore.go:compactLocked leaves a block that is empty but for tombstones at the head, so that the \
                first sequence is wrong, and recoverFullState, which leaves such blocks out, refuses the index (`Stream state \
                encountered internal inconsistency on recover`): the server reads its blocks, as after a crash",
        reproduction: r#"
nats stream add J --subjects 'j.*' --retention work --max-bytes 100000 --defaults
nats consumer add J W --pull --ack explicit --wait 1h --defaults
nats pub j.x --count 400 "$(head -c 100 /dev/zero | tr '\0' x)"
nats consumer next J W --no-ack                 # 1 stays
nats consumer next J W --count 398
nats pub j.x --count 2 more
nats consumer next J W --count 2                # 400 and 401: 402 is left
nats stream purge J --seq 200 -f                # 1 goes
nats stream info J                              # 1 message, and the first sequence is 401, which was acked
stop, start
nats stream info J                              # 2 messages: 400 is back"#,
        tried: "2.14.0, 2.14.6, 2.15.1: 400 is back; 2.10.25, 2.11.11, 2.12.1, 2.12.8: the first sequence is 402, and nothing is. On \
                2.15.1, what is purged by subject as in `emptied-block-returns`, and then up to sequence 2: 187 are back",
    },
    Defect {
        name: "stream-lost-at-update",
        seen: "a stream whose configuration is being changed as the power goes is gone as a whole, with `sync_interval: always` too",
        shows: &[(Invariant::K1, "stream missing")],
        faults: &[FaultKind::PowerCut],
        retention: None,
        first_seq: false,
        versions: &[(Version::new(2, 10, 0), None)],
        issue: "not reported yet; filestore.go:writeStreamMeta writes meta.inf and then meta.sum, and jetstream.go leaves a stream \
                out whose two do not agree",
        reproduction: r#"
nats stream add A --subjects 'a.*' --defaults
cp jetstream/'$G'/streams/A/meta.sum kept     # in the store; what a power cut between the two files leaves
nats stream edit A --description x -f
stop
cp kept jetstream/'$G'/streams/A/meta.sum
start
nats stream ls            # no stream; its messages are gone with it"#,
        tried: "2.15.1: gone; by crash states also on 2.10.25, 2.12.1 and 2.14.6",
    },
    Defect {
        name: "consumer-lost-at-update",
        seen: "a consumer whose configuration is being changed as the power goes is gone, with `sync_interval: always` too",
        shows: &[(Invariant::K1, "consumer missing")],
        faults: &[FaultKind::PowerCut],
        retention: None,
        first_seq: false,
        versions: &[
            (Version::new(2, 10, 0), Some(Version::new(2, 11, 11))),
            (Version::new(2, 12, 0), Some(Version::new(2, 12, 1))),
        ],
        issue: "mended by nats-server #7388; filestore.go:writeFileWithSync emptied meta.inf and then wrote it, and jetstream.go \
                leaves a consumer out whose meta.inf is empty",
        reproduction: r#"
nats stream add A --subjects 'a.*' --defaults
nats consumer add A R --pull --ack explicit --defaults
file=$STORE/jetstream/'$G'/streams/A/obs/R/meta.inf     # kill -9 at the next write to it, or to what takes its place:
strace -f -p $PID -P "$file" -P "$file.tmp" -e trace=write -e inject=write:signal=KILL &
nats consumer edit A R --description x -f
start
nats consumer ls A            # no consumer"#,
        tried: "2.10.25, 2.11.10: gone; 2.11.11, 2.12.1, 2.15.1: there",
    },
    Defect {
        name: "removal-undone",
        seen: "messages that were purged or deleted last of all are back, if the power goes before the next message is acknowledged, \
               with `sync_interval: always` too",
        shows: &[(Invariant::M7, "returned"), (Invariant::M7, "first sequence fell")],
        faults: &[FaultKind::PowerCut],
        retention: None,
        first_seq: false,
        versions: &[(Version::new(2, 10, 0), None)],
        issue: "not reported yet; filestore.go:purge moves the folder of the messages away and makes a new one, and syncs neither \
                their folder nor what it writes there; filestore.go:removeMsg writes a tombstone and does not sync it",
        reproduction: r#"
nats stream add A --subjects 'a.*' --defaults
nats pub a.x --count 5 hello
cp -r jetstream/'$G'/streams/A/msgs kept     # in the store; what a power cut right after the purge leaves
nats stream purge A -f
kill -9
rm -r jetstream/'$G'/streams/A/msgs && cp -r kept jetstream/'$G'/streams/A/msgs
start
nats stream info A            # 5 messages"#,
        tried: "2.15.1: 5; of a deletion (`nats stream rmm A 3 -f`) 5, too. By crash states on 2.10.25 and 2.15.1",
    },
];

/// Faults after which the server reads its blocks instead of its index.
const CRASHES: &[FaultKind] = &[
    FaultKind::Kill,
    FaultKind::KillAfterAck,
    FaultKind::IndexLost,
    FaultKind::IndexStale,
    FaultKind::PowerCut,
    FaultKind::PowerCutExt4,
];

/// Faults that end the server in the middle of whatever it does.
const IN_THE_MIDDLE: &[FaultKind] =
    &[FaultKind::Kill, FaultKind::KillAfterAck, FaultKind::PowerCut, FaultKind::PowerCutExt4];
