// Package abi holds the numbers of the plugin ABI, version 1: names, offsets,
// verdicts and limits, as wasm/ABI.md specifies them. Host and guest kits share
// it. It is a leaf without dependencies, so that a guest stays small.
//
// All integers are little-endian. Offsets are in bytes from the start of a frame.
package abi

// Version is the ABI's version: byte 2 of every frame.
const Version = 1

// Module is the name under which a guest imports the host's functions.
const Module = "chappe"

// Exports of a guest. A hook is used if it is exported.
const (
	ExportMarker       = "chappe_abi_v1"     // ()->(); never called
	ExportBuffers      = "chappe_buffers"    // (in_cap i32, out_cap i32)->i64: in_ptr<<32 | out_ptr
	ExportInit         = "chappe_init"       // (len i32)->i64; the in-buffer holds a frame with the configuration as payload
	ExportConnect      = "chappe_on_connect" // hooks: (len i32)->i64
	ExportSubscribe    = "chappe_on_subscribe"
	ExportPublish      = "chappe_on_publish"
	ExportPublishBatch = "chappe_on_publish_batch"
	ExportDeliver      = "chappe_on_deliver"
	ExportPresence     = "chappe_on_presence"
	ExportHistory      = "chappe_on_history"
	ExportDisconnect   = "chappe_on_disconnect"
	ExportTimer        = "chappe_on_timer"
)

// Hook is byte 3 of a frame.
type Hook uint8

// Hooks.
const (
	Init Hook = iota
	Connect
	Subscribe
	Publish
	PublishBatch
	Deliver
	Presence
	History
	Disconnect
	Timer
	Hooks // how many there are
)

// Frame header (ABI §4). A reference is two u32: offset from the frame's start,
// and length. The guest must read HeaderLen from the frame: fields are appended.
const (
	OffHeaderLen = 0  // u16
	OffVersion   = 2  // u8
	OffHook      = 3  // u8
	OffFlags     = 4  // u32
	OffTick      = 8  // u64: the message's stamp, microseconds; 0: not stamped yet
	OffNow       = 16 // u64: milliseconds since 1970, frozen for the call
	OffChannel   = 24 // ref; the pattern, for a subscription to one
	OffClient    = 32 // ref: public id of the session
	OffClaims    = 40 // ref: JSON object: the token's claims
	OffEvent     = 48 // ref: event name
	OffPayload   = 56 // ref; Init: the configuration
	OffUser      = 64 // ref
	OffKey       = 72 // ref: conflation key
	OffID        = 80 // ref: idempotency id
	OffArg0      = 88 // u32: Deliver: readers; PublishBatch: messages; Presence: 1 joined, 2 left; Disconnect: close code; Init: in-buffer size
	OffArg1      = 92 // u32: Deliver: size of a reader's record
	HeaderLen    = 96
)

// Flags of a frame.
const (
	FlagBinary  = 1 << iota // the payload is not known to be UTF-8
	FlagMesh                // the message entered at another node
	FlagReplay              // Deliver: for a reader that catches up
	FlagPattern             // Channel is a pattern
	FlagBackend             // the client is a back end with an API key
)

// Deliver (ABI §5.5): Arg0 records of Arg1 bytes begin at HeaderLen. The guest
// sets bit i&7 of byte i>>3 of its output for each reader that gets the message.
const (
	RecTags    = 0  // u64
	RecLevel   = 8  // u32
	RecGroup   = 12 // u32
	RecUser    = 16 // u64: FNV-1a 64 of the user's name; 0: anonymous
	RecExtOff  = 24 // u32: the subscription's extra bytes, from the frame's start
	RecExtLen  = 28 // u32
	RecLen     = 32
	MaxReaders = 1024
)

// PublishBatch (ABI §5.4): at HeaderLen, Arg0 u32 offsets of frames, each a
// whole Publish frame with references relative to its own start. The output is
// Arg0 u64 verdict words, then the output of each, in order. The code of the
// result is how many are answered, from the first; 0: all.

// Verdict is bits 0-7 of a hook's result (ABI §6): bits 8-15 are flags, 16-31
// the code, 32-63 the length of the output.
type Verdict uint8

// Verdicts.
const (
	Error   Verdict = iota // as if the guest had trapped
	Allow                  // as it is; with TLVs: tags or a match beside it
	Drop                   // silently; the publisher gets its acknowledgement
	Deny                   // with code and reason, told to the client
	Replace                // the output is the payload, or holds it
	Bitmap                 // Deliver: the output is the bitmap
	Matched                // Publish: readers are tested natively by the match in the output
	FanOut                 // Publish: as it is, and further messages
	Verdicts
)

// Flags of a verdict.
const (
	VerdictLog = 1 << iota // write this call to the log, sampled
	VerdictTLV             // the output is a list of TLVs; else it is a payload (Replace), a reason (Deny) or a bitmap
)

// Word packs a result.
func Word(v Verdict, flags uint8, code uint16, n uint32) uint64 {
	return uint64(v) | uint64(flags)<<8 | uint64(code)<<16 | uint64(n)<<32
}

// Unword takes a result apart.
func Unword(w uint64) (v Verdict, flags uint8, code uint16, n uint32) {
	return Verdict(w), uint8(w >> 8), uint16(w >> 16), uint32(w >> 32)
}

// Output TLVs (ABI §7): u16 type, u16 flags (0), u32 length, then the bytes; the
// next begins behind them without padding. Unknown types are an error.
const (
	TLVPayload = 1 // replaces the payload
	TLVFanOut  = 2 // u16 length of the channel, channel, payload
	TLVTags    = 3 // u64 tags, u32 level, u32 group, then at most MaxExt bytes
	TLVReason  = 4 // UTF-8 text for the client
	TLVMatch   = 6 // u64 any, u64 all, u64 none, u32 least level
	TLVHead    = 8
)

// Limits of what passes between host and guest.
const (
	InBuffer  = 256 << 10 // bytes the host asks for at least, as in_cap
	OutBuffer = 64 << 10  // bytes of output for one message, and out_cap
	OutBatch  = 256 << 10 // out_cap of a guest that exports PublishBatch
	MaxFan    = 16        // fan-outs of one message
	MaxReason = 256       // bytes
	MaxExt    = 256       // bytes
	MaxLog    = 1024      // bytes of one line; the host cuts beyond
	MaxKey    = 256       // bytes of a key of the store
)

// Host functions, imported from Module.
const (
	FnLog          = "log"           // (level, ptr, len i32)
	FnMetricDefine = "metric_define" // (ptr, len, kind i32)->i32: id, -1 too many; kinds: 0 counter, 1 gauge
	FnMetricAdd    = "metric_add"    // (id i32, n i64); a gauge is set
	FnConfigGet    = "config_get"    // (key, key_len, out, cap i32)->i32: length, -1 none, -2 too small
	FnKVGet        = "kv_get"        // (key, key_len, out, cap i32)->i32: length, -1 none, -2 too small
	FnKVSet        = "kv_set"        // (key, key_len, value, value_len, ttl_ms i32)->i32: 0, -1 full
	FnKVIncr       = "kv_incr"       // (key, key_len i32, delta i64, ttl_ms i32)->i64: the sum
	FnTimerSet     = "timer_set"     // (ms i32): Timer is called once after that; 0 cancels
	FnNow          = "now_ms"        // ()->i64: as OffNow
	FnRandom       = "random"        // ()->i64: seeded per instance
	FnRefill       = "__refill"      // ()->(): reserved; a module that imports it is refused
)

// Names that instrumentation adds to a module; a module that exports or imports
// one is refused.
const (
	ExportFuel  = "__chappe_fuel"  // mutable i64: fuel left in the slice
	ExportDepth = "__chappe_depth" // mutable i32: calls that may still be nested
)
