package wire

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// DecodeJSON reads one frame, or a list of frames, as the given side sends them
// (PROTOCOL §4). Frames whose names begin with "x-" and fields that are not
// known are skipped, so the result may be shorter than the list. It is all or
// nothing: one faulty frame makes the whole message an error, a *DecodeError.
// Nothing returned aliases b.
func DecodeJSON(b []byte, side Side) ([]Frame, error) {
	if !utf8.Valid(b) {
		return nil, &DecodeError{Code: CodeBadUTF8, Text: "a message is not UTF-8"}
	}
	start := skipSpace(b, 0)
	end := skipValue(b, start, MaxDepth)
	if end < 0 || skipSpace(b, end) != len(b) {
		return nil, badJSON(b)
	}
	switch b[start] {
	case '{':
		f, err := decodeObject(b[start:end], side)
		if err != nil {
			return nil, err
		}
		if f == nil {
			return nil, nil
		}
		return []Frame{f}, nil
	case '[':
		return decodeList(b[start:end], side)
	}
	return nil, badFrame("a message is neither an object nor a list of objects")
}

// badJSON finds the place of the fault for its text.
func badJSON(b []byte) *DecodeError {
	e := &DecodeError{Code: CodeBadJSON, Text: fmt.Sprintf("nested deeper than %d", MaxDepth)}
	var v json.RawMessage
	switch err := json.Unmarshal(b, &v).(type) {
	case nil:
	case *json.SyntaxError:
		e.Text = fmt.Sprintf("%v (byte %d)", err, err.Offset)
	default:
		e.Text = err.Error()
	}
	return e
}

func decodeList(b []byte, side Side) ([]Frame, error) {
	var frames []Frame
	var fault *DecodeError
	n := 0
	list := fields{val: b}
	list.each(func(val []byte) {
		if n++; fault != nil {
			return
		}
		switch {
		case n > MaxFramesPerMessage && side == FromClient:
			fault = tooMany()
		case val[0] != '{':
			fault = badFrame("element %d of a message is not an object", n)
		default:
			var f Frame
			if f, fault = decodeObject(val, side); f != nil {
				frames = append(frames, f)
			}
		}
	})
	if fault != nil {
		return nil, fault
	}
	return frames, nil
}

// decodeObject reads one frame from a well formed object; nil if it is one to skip.
func decodeObject(b []byte, side Side) (Frame, *DecodeError) {
	var name, ref []byte
	f := fields{b: b}
	for f.next() { // "t" may stand anywhere; of two the last counts
		switch string(f.key) {
		case "t":
			name = f.val
		case "ref":
			ref = f.val
		}
	}
	frame, err := decodeNamed(name, &fields{b: b}, side)
	if err != nil {
		if n, ok := parseUint(ref); ok && n < 1<<32 {
			err.Ref = uint32(n)
		}
		return nil, err
	}
	return frame, nil
}

func decodeNamed(name []byte, f *fields, side Side) (Frame, *DecodeError) {
	if len(name) == 0 {
		return nil, badFrame(`a frame has no "t"`)
	}
	if name[0] != '"' {
		return nil, badFrame(`field "t" is not a string`)
	}
	t := unquote(name)
	var frame Frame
	var err *DecodeError
	if side == FromClient {
		frame, err = decodeRequest(t, f)
	} else {
		frame, err = decodeEvent(t, f)
	}
	switch {
	case err != nil:
		return nil, err
	case f.err != nil:
		return nil, f.err
	case frame != nil, len(t) > 2 && t[:2] == "x-":
		return frame, nil
	}
	return nil, badFrame("a %s has no frame %q", side, clipped([]byte(t)))
}

// decodeRequest reads a frame of a client; nil if there is none of that name.
func decodeRequest(t string, f *fields) (Frame, *DecodeError) {
	switch t {
	case "pub":
		return decodePub(f)
	case "pong":
		return &Pong{}, nil
	case "hello":
		h := &Hello{}
		for f.next() {
			switch string(f.key) {
			case "version":
				f.int(&h.Version)
			case "token":
				f.str(&h.Token)
			case "resume":
				f.str(&h.Resume)
			case "cursor":
				f.str(&h.Cursor)
			case "subs":
				objects(f, &h.Subs, readSub)
			case "agent":
				f.str(&h.Agent)
			}
		}
		return h, nil
	case "sub":
		s := &Sub{}
		for f.next() {
			readSub(f, s)
		}
		return s, nil
	case "unsub":
		u := &Unsub{}
		for f.next() {
			switch string(f.key) {
			case "ref":
				f.ref(&u.Ref)
			case "channel":
				f.str(&u.Channel)
			}
		}
		return u, nil
	case "history":
		h := &History{}
		for f.next() {
			switch string(f.key) {
			case "ref":
				f.ref(&h.Ref)
			case "channel":
				f.str(&h.Channel)
			case "cursor":
				f.str(&h.Cursor)
			case "last":
				f.int(&h.Last)
			case "limit":
				f.int(&h.Limit)
			}
		}
		return h, nil
	case "presence":
		p := &PresenceReq{}
		for f.next() {
			switch string(f.key) {
			case "ref":
				f.ref(&p.Ref)
			case "channel":
				f.str(&p.Channel)
			}
		}
		return p, nil
	case "refresh":
		r := &Refresh{}
		for f.next() {
			switch string(f.key) {
			case "ref":
				f.ref(&r.Ref)
			case "token":
				f.str(&r.Token)
			}
		}
		return r, nil
	}
	return nil, nil
}

func decodePub(f *fields) (Frame, *DecodeError) {
	p := &Pub{}
	var data payload
	for f.next() {
		switch string(f.key) {
		case "ref":
			f.ref(&p.Ref)
		case "channel":
			f.str(&p.Channel)
		case "id":
			f.str(&p.ID)
		case "key":
			f.str(&p.Key)
		case "event":
			f.str(&p.Event)
		case "ttl_ms":
			f.ms(&p.TTL)
		case "quiet":
			f.boolean(&p.Quiet)
		case "ack":
			f.str(&p.Ack)
		case "data":
			data.val = f.val
		case "enc":
			f.str(&data.enc)
		}
	}
	var err *DecodeError
	p.Data, err = data.decode()
	return p, err
}

func readSub(f *fields, s *Sub) {
	switch string(f.key) {
	case "ref":
		f.ref(&s.Ref)
	case "channel":
		f.str(&s.Channel)
	case "cursor":
		f.str(&s.Cursor)
	case "last":
		f.int(&s.Last)
	case "policy":
		f.str(&s.Policy)
	case "presence":
		f.boolean(&s.Presence)
	case "pass":
		f.str(&s.Pass)
	case "via":
		f.str(&s.Via)
	}
}
