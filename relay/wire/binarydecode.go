package wire

import (
	"math"

	"github.com/chappe-relay/chappe/relay/position"
)

// DecodeBinary reads whole frames, one behind the other, as the given side
// sends them (PROTOCOL §5). Frames of a type with the high bit set are skipped,
// so the result may be shorter than the input suggests. It is all or nothing:
// one faulty frame makes the whole message an error, a *DecodeError.
//
// Payloads alias b: who keeps a frame longer than b copies them.
func DecodeBinary(b []byte, side Side) ([]Frame, error) {
	var frames []Frame
	for n := 1; len(b) > 0; n++ {
		if n > MaxFramesPerMessage && side == FromClient {
			return nil, tooMany()
		}
		f, rest, err := decodeBinary(b, side)
		if err != nil {
			return nil, err
		}
		if f != nil {
			frames = append(frames, f)
		}
		b = rest
	}
	return frames, nil
}

// DecodeBinaryFrame reads the frame that b begins with and returns what stands
// behind it. f is nil for a frame that is to be skipped. Payloads alias b.
func DecodeBinaryFrame(b []byte, side Side) (f Frame, rest []byte, err error) {
	f, rest, fault := decodeBinary(b, side)
	if fault != nil {
		return nil, nil, fault
	}
	return f, rest, nil
}

func decodeBinary(b []byte, side Side) (Frame, []byte, *DecodeError) {
	if len(b) < 2 {
		return nil, nil, badFrame("a frame is cut short")
	}
	t := Type(b[0])
	n, k := uvarint(b[1:])
	switch {
	case k < 0:
		return nil, nil, badFrame("the length of a frame is not a number")
	case k == 0 || n > uint64(len(b)-1-k):
		return nil, nil, badFrame("a frame of type %#02x is cut short", uint8(t))
	}
	d := body{b: b[1+k : 1+k+int(n)]}
	rest := b[1+k+int(n):]
	if t&0x80 != 0 {
		return nil, rest, nil
	}
	ref := peekRef(t, d.b)
	var f Frame
	if side == FromClient {
		f = d.request(t)
	} else {
		f = d.event(t)
	}
	switch {
	case f == nil:
		d.err = badFrame("a %s has no frame of type %#02x", side, uint8(t))
	case d.err == nil:
		return f, rest, nil
	}
	d.err.Ref = ref
	return nil, nil, d.err
}

// peekRef reads the ref that most bodies begin with, for the answer to a fault.
func peekRef(t Type, b []byte) uint32 {
	switch t {
	case TypeSub, TypeUnsub, TypePub, TypeHistory, TypePresenceReq, TypeRefresh,
		TypeSubbed, TypeAck, TypeErr, TypePresence, TypeUnsubbed, TypeHistoryPage:
		if v, n := uvarint(b); n > 0 && v <= math.MaxUint32 {
			return uint32(v)
		}
	}
	return 0
}

// request reads the body of a client's frame; nil if there is none of that type.
func (d *body) request(t Type) Frame {
	switch t {
	case TypePub:
		f := &Pub{Ref: d.ref()}
		f.Quiet = d.flags()&flagQuiet != 0
		f.Channel = d.str("channel")
		f.ID = d.str("id")
		f.Key = d.str("key")
		f.Event = d.str("event")
		f.TTL = d.ms("ttl_ms")
		f.Ack = d.str("ack")
		f.Data = d.bytes("data")
		return f
	case TypePong:
		return &Pong{}
	case TypeHello:
		f := &Hello{Version: d.int("version")}
		f.Token = d.str("token")
		f.Resume = d.str("resume")
		f.Cursor = d.str("cursor")
		f.Subs = items(d, "subs", (*body).sub)
		f.Agent = d.str("agent")
		return f
	case TypeSub:
		f := &Sub{}
		d.sub(f)
		return f
	case TypeUnsub:
		return &Unsub{Ref: d.ref(), Channel: d.str("channel")}
	case TypeHistory:
		f := &History{Ref: d.ref()}
		f.Channel = d.str("channel")
		f.Cursor = d.str("cursor")
		f.Last = d.int("last")
		f.Limit = d.int("limit")
		return f
	case TypePresenceReq:
		return &PresenceReq{Ref: d.ref(), Channel: d.str("channel")}
	case TypeRefresh:
		return &Refresh{Ref: d.ref(), Token: d.str("token")}
	}
	return nil
}

// event reads the body of a server's frame; nil if there is none of that type.
func (d *body) event(t Type) Frame {
	switch t {
	case TypeMsg:
		f := &Msg{}
		d.msg(f)
		return f
	case TypeGap:
		f := &Gap{}
		d.gap(f)
		return f
	case TypeProgress:
		return &Progress{Cursor: d.str("cursor")}
	case TypeAck:
		f := &Ack{Ref: d.ref()}
		f.Dup = d.flags()&flagDup != 0
		f.Stamp = d.stamp()
		f.Expires = d.ms("expires")
		f.ExpiresIn = d.added("expires_ms")
		return f
	case TypeErr:
		f := &Err{Ref: d.ref()}
		f.Terminal = d.flags()&flagTerminal != 0
		f.Channel = d.str("channel")
		f.Code = Code(d.str("code"))
		f.Text = d.str("text")
		f.Retry = d.ms("retry_ms")
		return f
	case TypePing:
		return &Ping{}
	case TypePresence:
		f := &Presence{Ref: d.ref()}
		f.Channel = d.str("channel")
		f.Action = d.str("action")
		f.Members = items(d, "members", func(d *body, m *Member) {
			m.Session = d.str("session")
			m.User = d.str("user")
			if len(d.b) > 0 { // only who is not simply there has one
				m.State = d.str("state")
			}
		})
		return f
	case TypeSubbed:
		f := &Subbed{Ref: d.ref()}
		flags := d.flags()
		f.Recovered = flags&flagRecovered != 0
		f.Channel = d.str("channel")
		f.Cursor = d.str("cursor")
		if flags&flagPass != 0 {
			f.Pass = d.str("pass")
		}
		if flags&flagVia != 0 {
			f.Via = d.str("via")
		}
		return f
	case TypeUnsubbed:
		f := &Unsubbed{Ref: d.ref()}
		f.Channel = d.str("channel")
		f.Code = Code(d.str("code"))
		f.Text = d.str("text")
		return f
	case TypeWelcome:
		return d.welcome()
	case TypeDrain:
		f := &Drain{Deadline: d.ms("deadline_ms")}
		f.Delay = d.ms("delay_ms")
		f.Alternatives = d.strs("alternatives")
		return f
	case TypeHistoryPage:
		f := &HistoryPage{Ref: d.ref()}
		f.More = d.flags()&flagMore != 0
		f.Channel = d.str("channel")
		f.Messages = items(d, "messages", (*body).msg)
		f.Cursor = d.str("cursor")
		if len(d.b) > 0 && d.b[0] == 0 { // a gap of no length is no gap
			d.b = d.b[1:]
			return f
		}
		f.Gap = &Gap{}
		nested(d, "gap", f.Gap, (*body).gap)
		return f
	}
	return nil
}

func (d *body) sub(f *Sub) {
	f.Ref = d.ref()
	flags := d.flags()
	f.Presence = flags&flagPresence != 0
	f.Channel = d.str("channel")
	f.Cursor = d.str("cursor")
	f.Last = d.int("last")
	f.Policy = d.str("policy")
	if flags&flagPass != 0 {
		f.Pass = d.str("pass")
	}
	if flags&flagVia != 0 {
		f.Via = d.str("via")
	}
}

func (d *body) msg(f *Msg) {
	f.Channel = d.str("channel")
	f.Stamp = d.stamp()
	f.ID = d.str("id")
	f.Key = d.str("key")
	f.Event = d.str("event")
	f.From = d.str("from")
	f.Data = d.bytes("data")
}

func (d *body) gap(f *Gap) {
	f.Channels = d.strs("channels")
	f.Ranges = items(d, "ranges", func(d *body, r *Range) {
		r.Origin = position.Origin(d.u64("origin"))
		r.From = d.u64("from")
		r.To = d.u64("to")
		r.Seq = d.uint(math.MaxUint64, "seq")
	})
	f.Count = d.uint(math.MaxUint64, "count")
	f.Reason = Reason(d.str("reason"))
}

func (d *body) welcome() *Welcome {
	f := &Welcome{Version: d.int("version")}
	f.Session = d.str("session")
	f.Resume = d.str("resume")
	f.Node = position.Origin(d.u64("node"))
	f.Region = d.str("region")
	f.Ping = d.ms("ping_ms")
	f.Dead = d.ms("dead_ms")
	f.Reconnect = d.ms("reconnect_ms")
	f.Expires = d.ms("expires")
	f.Alternatives = d.strs("alternatives")
	nested(d, "limits", &f.Limits, func(d *body, l *Limits) {
		l.Message = d.int("message")
		l.Subs = d.int("subs")
		l.Rate = d.int("rate")
		l.Burst = d.int("burst")
	})
	f.ExpiresIn = d.added("expires_ms")
	return f
}

// added reads a time that was added at the end of a frame; 0 where none follows.
func (d *body) added(name string) int64 {
	if len(d.b) == 0 {
		return 0
	}
	return d.ms(name)
}
