package abi

import "unicode/utf8"

// Result is a hook's answer, checked. Its slices are views of the out-buffer:
// they hold until the instance is called again. A host keeps one Result per
// instance and parses into it.
type Result struct {
	Verdict Verdict
	Log     bool   // the guest asks for this call to be logged
	Code    uint16 // Deny: 403 if the guest gave none; Error: the guest's own
	Reason  []byte // Deny: text for the client; Error: text for the log
	Payload []byte // Replace: the new payload, perhaps empty
	Bitmap  []byte // Bitmap: exactly ⌈readers/8⌉ bytes
	Fan     []Copy
	Tagged  bool // the answer holds Tags
	Tags    Tags
	Matches bool // the answer holds Match
	Match   Match

	fan [MaxFan]Copy
}

// Copy is one fan-out (ABI §7.2). The channel is not checked for its form.
type Copy struct{ Channel, Payload []byte }

// Tags are what the subscribe hook gives a subscription (ABI §7.3).
type Tags struct {
	Bits  uint64
	Level uint32
	Group uint32
	Ext   []byte // at most MaxExt bytes
}

// Match is a test of tags (ABI §7.6).
type Match struct {
	Any, All, None uint64
	Level          uint32
}

// allowed has a bit per verdict that a hook may answer (ABI §5).
var allowed = [Hooks]uint16{
	Init:       1<<Allow | 1<<Deny,
	Connect:    1<<Allow | 1<<Deny,
	Subscribe:  1<<Allow | 1<<Deny,
	Publish:    1<<Allow | 1<<Drop | 1<<Deny | 1<<Replace | 1<<Matched | 1<<FanOut,
	Deliver:    1<<Allow | 1<<Drop | 1<<Bitmap,
	Presence:   1 << Allow,
	History:    1<<Allow | 1<<Deny,
	Disconnect: 1 << Allow,
	Timer:      1 << Allow,
	// PublishBatch has a form of its own: Answers.
}

// Parse checks the answer of a hook and reads it to r. out is the guest's whole
// out-buffer; readers counts for Deliver. Errors are Faults; FaultGuest comes
// with Code and Reason. It does not allocate.
func (r *Result) Parse(word uint64, out []byte, h Hook, readers int) error {
	v, flags, code, length := Unword(word)
	r.reset(v, flags)
	switch {
	case v >= Verdicts:
		return FaultVerdict
	case v != Error && (h >= Hooks || allowed[h]&(1<<v) == 0):
		return FaultHook
	case flags&^(VerdictLog|VerdictTLV) != 0:
		return FaultFlags
	case uint64(length) > uint64(len(out)) || length > OutBuffer:
		return FaultLength
	case code != 0 && v != Deny && v != Error:
		return FaultCode
	}
	out = out[:length:length]
	r.Code = code
	if v == Deny && code == 0 {
		r.Code = 403
	}
	if v == Error {
		if flags&VerdictTLV == 0 && len(out) <= MaxReason && utf8.Valid(out) {
			r.Reason = out
		}
		return FaultGuest
	}
	if flags&VerdictTLV != 0 {
		return r.list(out, h)
	}
	switch v {
	case Deny:
		return r.reason(out)
	case Replace:
		r.Payload = out
	case Bitmap:
		if len(out) != (readers+7)/8 {
			return FaultOutput
		}
		r.Bitmap = out
	case Matched, FanOut:
		return FaultTLVNone
	default:
		if len(out) != 0 {
			return FaultOutput
		}
	}
	return nil
}

func (r *Result) reset(v Verdict, flags uint8) {
	r.Verdict, r.Log, r.Code = v, flags&VerdictLog != 0, 0
	r.Reason, r.Payload, r.Bitmap = nil, nil, nil
	r.Fan, r.Tagged, r.Matches = r.fan[:0], false, false
}

// list reads TLVs (ABI §7).
func (r *Result) list(out []byte, h Hook) error {
	v := r.Verdict
	if v == Bitmap {
		return FaultOutput
	}
	payload, reason := false, false
	for len(out) > 0 {
		if len(out) < TLVHead {
			return FaultTLV
		}
		kind, flags, n := le.Uint16(out), le.Uint16(out[2:]), le.Uint32(out[4:])
		if flags != 0 || uint64(n) > uint64(len(out)-TLVHead) {
			return FaultTLV
		}
		value := out[TLVHead : TLVHead+int(n) : TLVHead+int(n)]
		out = out[TLVHead+int(n):]
		switch kind {
		case TLVPayload:
			if v != Replace {
				return FaultTLVPlace
			}
			if payload {
				return FaultTLVTwice
			}
			payload, r.Payload = true, value
		case TLVFanOut:
			if h != Publish || v == Deny {
				return FaultTLVPlace
			}
			if err := r.copy(value); err != nil {
				return err
			}
		case TLVTags:
			if h != Subscribe || v != Allow {
				return FaultTLVPlace
			}
			if r.Tagged {
				return FaultTLVTwice
			}
			if len(value) < tagsLen || len(value) > tagsLen+MaxExt {
				return FaultTLV
			}
			r.Tagged = true
			r.Tags = Tags{le.Uint64(value), le.Uint32(value[8:]), le.Uint32(value[12:]), value[tagsLen:]}
		case TLVReason:
			if v != Deny {
				return FaultTLVPlace
			}
			if reason {
				return FaultTLVTwice
			}
			reason = true
			if err := r.reason(value); err != nil {
				return err
			}
		case TLVMatch:
			if h != Publish || v == Deny || v == Drop {
				return FaultTLVPlace
			}
			if r.Matches {
				return FaultTLVTwice
			}
			if len(value) != matchLen {
				return FaultTLV
			}
			r.Matches = true
			r.Match = Match{le.Uint64(value), le.Uint64(value[8:]), le.Uint64(value[16:]), le.Uint32(value[24:])}
		default:
			return FaultTLVType
		}
	}
	if v == Replace && !payload || v == Matched && !r.Matches || v == FanOut && len(r.Fan) == 0 {
		return FaultTLVNone
	}
	return nil
}

func (r *Result) reason(text []byte) error {
	if len(text) > MaxReason || !utf8.Valid(text) {
		return FaultReason
	}
	r.Reason = text
	return nil
}

func (r *Result) copy(value []byte) error {
	if len(r.Fan) == MaxFan {
		return FaultFanOut
	}
	if len(value) < 2 {
		return FaultTLV
	}
	n := 2 + int(le.Uint16(value))
	if n == 2 || n > len(value) {
		return FaultTLV
	}
	r.Fan = append(r.Fan, Copy{value[2:n:n], value[n:]})
	return nil
}
