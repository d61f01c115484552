package wire

import (
	"encoding/base64"
	"encoding/binary"
	"strconv"

	"github.com/chappe-relay/chappe/relay/position"
)

// AppendJSON appends the JSON form of f: one object on one line, "t" first,
// fields in the order of PROTOCOL §4, zero fields omitted. It allocates only
// where dst must grow.
func AppendJSON(dst []byte, f Frame) []byte {
	switch f := f.(type) {
	case *Msg:
		dst = append(dst, `{"t":"msg"`...)
		dst = appendMsg(dst, f)
	case *Gap:
		dst = append(dst, `{"t":"gap"`...)
		dst = appendGap(dst, f)
	case *Progress:
		dst = append(dst, `{"t":"progress"`...)
		dst = appendStr(dst, `,"cursor":`, f.Cursor)
	case *Ack:
		dst = append(dst, `{"t":"ack"`...)
		dst = appendUint(dst, `,"ref":`, uint64(f.Ref))
		dst = appendStamp(dst, f.Stamp)
		dst = appendTrue(dst, `,"dup":`, f.Dup)
		dst = appendInt(dst, `,"expires":`, f.Expires)
		dst = appendInt(dst, `,"expires_ms":`, f.ExpiresIn)
	case *Err:
		dst = append(dst, `{"t":"err"`...)
		dst = appendUint(dst, `,"ref":`, uint64(f.Ref))
		dst = appendStr(dst, `,"channel":`, f.Channel)
		dst = appendStr(dst, `,"code":`, string(f.Code))
		dst = appendStr(dst, `,"text":`, f.Text)
		dst = appendInt(dst, `,"retry_ms":`, f.Retry)
		dst = appendTrue(dst, `,"terminal":`, f.Terminal)
	case *Ping:
		dst = append(dst, `{"t":"ping"`...)
	case *Presence:
		dst = append(dst, `{"t":"presence"`...)
		dst = appendPresence(dst, f)
	case *Subbed:
		dst = append(dst, `{"t":"subbed"`...)
		dst = appendUint(dst, `,"ref":`, uint64(f.Ref))
		dst = appendStr(dst, `,"channel":`, f.Channel)
		dst = appendStr(dst, `,"cursor":`, f.Cursor)
		dst = appendTrue(dst, `,"recovered":`, f.Recovered)
		dst = appendStr(dst, `,"pass":`, f.Pass)
		dst = appendStr(dst, `,"via":`, f.Via)
	case *Unsubbed:
		dst = append(dst, `{"t":"unsubbed"`...)
		dst = appendUint(dst, `,"ref":`, uint64(f.Ref))
		dst = appendStr(dst, `,"channel":`, f.Channel)
		dst = appendStr(dst, `,"code":`, string(f.Code))
		dst = appendStr(dst, `,"text":`, f.Text)
	case *Welcome:
		dst = append(dst, `{"t":"welcome"`...)
		dst = appendWelcome(dst, f)
	case *Drain:
		dst = append(dst, `{"t":"drain"`...)
		dst = appendInt(dst, `,"deadline_ms":`, f.Deadline)
		dst = appendInt(dst, `,"delay_ms":`, f.Delay)
		dst = appendStrings(dst, `,"alternatives":`, f.Alternatives)
	case *HistoryPage:
		dst = append(dst, `{"t":"history"`...)
		dst = appendPage(dst, f)
	default:
		return appendRequest(dst, f)
	}
	return append(dst, '}')
}

// appendRequest appends a frame of a client.
func appendRequest(dst []byte, f Frame) []byte {
	switch f := f.(type) {
	case *Pub:
		dst = append(dst, `{"t":"pub"`...)
		dst = appendUint(dst, `,"ref":`, uint64(f.Ref))
		dst = appendStr(dst, `,"channel":`, f.Channel)
		dst = appendStr(dst, `,"id":`, f.ID)
		dst = appendStr(dst, `,"key":`, f.Key)
		dst = appendStr(dst, `,"event":`, f.Event)
		dst = appendInt(dst, `,"ttl_ms":`, f.TTL)
		dst = appendTrue(dst, `,"quiet":`, f.Quiet)
		dst = appendStr(dst, `,"ack":`, f.Ack)
		dst = appendData(dst, f.Data)
	case *Hello:
		dst = append(dst, `{"t":"hello"`...)
		dst = appendInt(dst, `,"version":`, f.Version)
		dst = appendStr(dst, `,"token":`, f.Token)
		dst = appendStr(dst, `,"resume":`, f.Resume)
		dst = appendStr(dst, `,"cursor":`, f.Cursor)
		dst = appendList(dst, `,"subs":`, f.Subs, appendSub)
		dst = appendStr(dst, `,"agent":`, f.Agent)
	case *Sub:
		dst = append(dst, `{"t":"sub"`...)
		dst = appendSub(dst, f)
	case *Unsub:
		dst = append(dst, `{"t":"unsub"`...)
		dst = appendUint(dst, `,"ref":`, uint64(f.Ref))
		dst = appendStr(dst, `,"channel":`, f.Channel)
	case *History:
		dst = append(dst, `{"t":"history"`...)
		dst = appendUint(dst, `,"ref":`, uint64(f.Ref))
		dst = appendStr(dst, `,"channel":`, f.Channel)
		dst = appendStr(dst, `,"cursor":`, f.Cursor)
		dst = appendInt(dst, `,"last":`, f.Last)
		dst = appendInt(dst, `,"limit":`, f.Limit)
	case *PresenceReq:
		dst = append(dst, `{"t":"presence"`...)
		dst = appendUint(dst, `,"ref":`, uint64(f.Ref))
		dst = appendStr(dst, `,"channel":`, f.Channel)
	case *Refresh:
		dst = append(dst, `{"t":"refresh"`...)
		dst = appendUint(dst, `,"ref":`, uint64(f.Ref))
		dst = appendStr(dst, `,"token":`, f.Token)
	case *Pong:
		dst = append(dst, `{"t":"pong"`...)
	default:
		return dst // nil, or not of this package
	}
	return append(dst, '}')
}

// appendList appends a list of objects; appendItem appends each one's fields,
// every one of them with a comma before it.
func appendList[T any](dst []byte, key string, items []T, appendItem func([]byte, *T) []byte) []byte {
	if len(items) == 0 {
		return dst
	}
	dst = append(append(dst, key...), '[')
	for i := range items {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendObject(dst, &items[i], appendItem)
	}
	return append(dst, ']')
}

// appendObject appends { and the fields, without the comma before the first.
func appendObject[T any](dst []byte, item *T, appendItem func([]byte, *T) []byte) []byte {
	start := len(dst)
	dst = appendItem(dst, item)
	if len(dst) == start {
		return append(dst, "{}"...)
	}
	dst[start] = '{'
	return append(dst, '}')
}

func appendSub(dst []byte, f *Sub) []byte {
	dst = appendUint(dst, `,"ref":`, uint64(f.Ref))
	dst = appendStr(dst, `,"channel":`, f.Channel)
	dst = appendStr(dst, `,"cursor":`, f.Cursor)
	dst = appendInt(dst, `,"last":`, f.Last)
	dst = appendStr(dst, `,"policy":`, f.Policy)
	dst = appendTrue(dst, `,"presence":`, f.Presence)
	dst = appendStr(dst, `,"pass":`, f.Pass)
	return appendStr(dst, `,"via":`, f.Via)
}

func appendMsg(dst []byte, f *Msg) []byte {
	dst = appendStr(dst, `,"channel":`, f.Channel)
	dst = appendStamp(dst, f.Stamp)
	dst = appendStr(dst, `,"id":`, f.ID)
	dst = appendStr(dst, `,"key":`, f.Key)
	dst = appendStr(dst, `,"event":`, f.Event)
	dst = appendStr(dst, `,"from":`, f.From)
	return appendData(dst, f.Data)
}

func appendData(dst, data []byte) []byte {
	if len(data) == 0 {
		return dst
	}
	return AppendPayloadJSON(append(dst, ','), data)
}

func appendStamp(dst []byte, s position.Stamp) []byte {
	if s == (position.Stamp{}) {
		return dst
	}
	dst = append(dst, `,"stamp":"`...)
	return append(s.Append(dst), '"')
}

func appendOrigin(dst []byte, key string, o position.Origin) []byte {
	if o == 0 {
		return dst
	}
	var raw [8]byte
	binary.BigEndian.PutUint64(raw[:], uint64(o))
	dst = append(append(dst, key...), '"')
	dst = base64.RawURLEncoding.AppendEncode(dst, raw[:])
	return append(dst, '"')
}

func appendGap(dst []byte, f *Gap) []byte {
	dst = appendStrings(dst, `,"channels":`, f.Channels)
	dst = appendList(dst, `,"ranges":`, f.Ranges, appendRange)
	dst = appendUint(dst, `,"count":`, f.Count)
	return appendStr(dst, `,"reason":`, string(f.Reason))
}

func appendRange(dst []byte, r *Range) []byte {
	dst = appendOrigin(dst, `,"origin":`, r.Origin)
	dst = appendTick(dst, `,"from":`, r.From)
	dst = appendTick(dst, `,"to":`, r.To)
	return appendUint(dst, `,"seq":`, r.Seq)
}

// appendTick writes the end of an origin as a word: the number does not fit a
// JavaScript number.
func appendTick(dst []byte, key string, tick uint64) []byte {
	switch tick {
	case 0:
		return dst
	case position.End:
		return append(append(dst, key...), `"end"`...)
	}
	return strconv.AppendUint(append(dst, key...), tick, 10)
}

func appendPresence(dst []byte, f *Presence) []byte {
	dst = appendUint(dst, `,"ref":`, uint64(f.Ref))
	dst = appendStr(dst, `,"channel":`, f.Channel)
	dst = appendStr(dst, `,"action":`, f.Action)
	return appendList(dst, `,"members":`, f.Members, func(dst []byte, m *Member) []byte {
		dst = appendStr(dst, `,"session":`, m.Session)
		dst = appendStr(dst, `,"user":`, m.User)
		return appendStr(dst, `,"state":`, m.State)
	})
}

func appendWelcome(dst []byte, f *Welcome) []byte {
	dst = appendInt(dst, `,"version":`, f.Version)
	dst = appendStr(dst, `,"session":`, f.Session)
	dst = appendStr(dst, `,"resume":`, f.Resume)
	dst = appendOrigin(dst, `,"node":`, f.Node)
	dst = appendStr(dst, `,"region":`, f.Region)
	dst = appendInt(dst, `,"ping_ms":`, f.Ping)
	dst = appendInt(dst, `,"dead_ms":`, f.Dead)
	dst = appendInt(dst, `,"reconnect_ms":`, f.Reconnect)
	dst = appendInt(dst, `,"expires":`, f.Expires)
	dst = appendInt(dst, `,"expires_ms":`, f.ExpiresIn)
	dst = appendStrings(dst, `,"alternatives":`, f.Alternatives)
	if f.Limits == (Limits{}) {
		return dst
	}
	return appendObject(append(dst, `,"limits":`...), &f.Limits, func(dst []byte, l *Limits) []byte {
		dst = appendInt(dst, `,"message":`, l.Message)
		dst = appendInt(dst, `,"subs":`, l.Subs)
		dst = appendInt(dst, `,"rate":`, l.Rate)
		return appendInt(dst, `,"burst":`, l.Burst)
	})
}

func appendPage(dst []byte, f *HistoryPage) []byte {
	dst = appendUint(dst, `,"ref":`, uint64(f.Ref))
	dst = appendStr(dst, `,"channel":`, f.Channel)
	dst = appendList(dst, `,"messages":`, f.Messages, appendMsg)
	dst = appendStr(dst, `,"cursor":`, f.Cursor)
	dst = appendTrue(dst, `,"more":`, f.More)
	if f.Gap != nil {
		dst = appendObject(append(dst, `,"gap":`...), f.Gap, appendGap)
	}
	return dst
}
