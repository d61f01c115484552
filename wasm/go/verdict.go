package chappe

import (
	"unicode/utf8"

	"github.com/chappe-relay/chappe/wasm/abi"
)

// Verdict is a hook's answer. The zero value is an error. Verdicts are values:
// methods return a changed one. They hold for the call in which they are made.
type Verdict struct {
	kind    abi.Verdict
	log     bool
	tagged  bool
	matches bool
	code    uint16
	reason  string
	payload []byte
	fan     []fan
	match   Match
	tags    Tags
}

type fan struct {
	channel string
	payload []byte
}

// Tags are what a subscription is known by to Match and to deliver.
type Tags = abi.Tags

// Match is a test of tags (ABI §7.6): any is 0 or shares a bit, all bits of all,
// no bit of none, at least the level.
type Match = abi.Match

// The plain verdicts.
var (
	Allow = Verdict{kind: abi.Allow} // as it is
	Drop  = Verdict{kind: abi.Drop}  // silently: the publisher is told that it was published
)

// Deny refuses. The code is an HTTP status (ABI §6.2), 0 for 403; the reason is
// told to the client, at most 256 bytes of it.
func Deny(code uint16, reason string) Verdict {
	return Verdict{kind: abi.Deny, code: code, reason: reason}
}

// Fail answers that the plugin failed: as a panic, with a text for the log.
func Fail(reason string) Verdict { return Verdict{reason: reason} }

// Replace publishes another payload. The slice is not copied: leave it as it is
// until the handler has returned.
func Replace(payload []byte) Verdict { return Verdict{kind: abi.Replace, payload: payload} }

// FanOut publishes a further message on another channel, at most 16 of them. No
// hook is called for it. With Drop it goes there instead.
func (v Verdict) FanOut(channel string, payload []byte) Verdict {
	if len(v.fan) == 0 && reuse {
		v.fan = fans[:0]
	}
	v.fan = append(v.fan, fan{channel, payload})
	return v
}

// In a guest the array serves one call after the other.
var fans [abi.MaxFan]fan

// Match restricts the message to readers whose tags pass.
func (v Verdict) Match(m Match) Verdict {
	v.matches, v.match = true, m
	return v
}

// Tag gives a subscription its tags.
func (v Verdict) Tag(t Tags) Verdict {
	v.tagged, v.tags = true, t
	return v
}

// Log has the call written to the log, sampled.
func (v Verdict) Log() Verdict {
	v.log = true
	return v
}

// encode writes the verdict's output to the front of out, which is taken whole,
// and returns the word. What does not fit is an error, told in the log.
func (v *Verdict) encode(out []byte) uint64 {
	var flags uint8
	if v.log {
		flags = abi.VerdictLog
	}
	if v.kind == abi.Deny || v.kind == abi.Error {
		n := copy(out, cut(v.reason, abi.MaxReason))
		return abi.Word(v.kind, flags, v.code, uint32(n))
	}
	if !v.tagged && !v.matches && len(v.fan) == 0 {
		if len(v.payload) > len(out) || len(v.payload) > abi.OutBuffer {
			return tooLarge(out)
		}
		return abi.Word(v.kind, flags, 0, uint32(copy(out, v.payload)))
	}
	if v.size() > min(len(out), abi.OutBuffer) {
		return tooLarge(out)
	}
	list := out[:0]
	if v.kind == abi.Replace {
		list = abi.AppendTLV(list, abi.TLVPayload, v.payload)
	}
	if v.tagged {
		list = abi.AppendTags(list, &v.tags)
	}
	if v.matches {
		list = abi.AppendMatch(list, &v.match)
	}
	for i := range v.fan {
		list = abi.AppendFanOut(list, v.fan[i].channel, v.fan[i].payload)
	}
	kind := v.kind
	if kind == abi.Allow {
		switch {
		case v.matches:
			kind = abi.Matched
		case len(v.fan) > 0:
			kind = abi.FanOut
		}
	}
	return abi.Word(kind, flags|abi.VerdictTLV, 0, uint32(len(list)))
}

// size is at least what the TLVs take.
func (v *Verdict) size() int {
	n := 128 + len(v.payload) + len(v.tags.Ext)
	for i := range v.fan {
		n += abi.TLVHead + 2 + len(v.fan[i].channel) + len(v.fan[i].payload)
	}
	return n
}

func tooLarge(out []byte) uint64 {
	return abi.Word(abi.Error, 0, 0, uint32(copy(out, "chappe: the output takes more than 64 KiB")))
}

// cut shortens text to n bytes of whole, valid UTF-8.
func cut(s string, n int) string {
	if len(s) > n {
		for range utf8.UTFMax - 1 {
			if utf8.RuneStart(s[n]) {
				break
			}
			n--
		}
		s = s[:n]
	}
	if !utf8.ValidString(s) {
		return "(not UTF-8)"
	}
	return s
}
