package poll

import (
	"bytes"
	"net/http"
	"strconv"
	"time"

	"github.com/chappe-relay/chappe/relay/ask"
	"github.com/chappe-relay/chappe/relay/web"
	"github.com/chappe-relay/chappe/relay/wire"
)

// answer waits until there is something to say, and says it.
func (s *seat) answer(w http.ResponseWriter, r *http.Request, hold time.Duration) {
	var body []byte
	news := false
	held := time.NewTimer(max(hold, 0))
	defer held.Stop()
	late := time.NewTimer(settle)
	defer late.Stop()
	for over := hold <= 0; ; {
		frames := s.s.Fill(nil, soft-len(body))
		news = s.news(frames) || news
		body = append(body, frames...)
		select {
		case ce := <-s.bell.end:
			s.bell.end <- ce // for leave
			frames = s.s.Fill(nil, soft)
			news = s.news(frames) || news
			s.last(w, append(body, frames...), news, ce)
			return
		default:
		}
		if len(body) >= soft || s.greeting <= 0 && (news || over) {
			break
		}
		if len(frames) > 0 {
			continue
		}
		select {
		case <-s.bell.kick:
		case <-held.C:
			over = true
		case <-late.C:
			s.greeting = 0
		case <-r.Context().Done():
			return
		}
	}
	s.write(w, body, pause(body))
}

// news reports whether frames hold anything that a client waits for: not the
// greeting, which every new session has.
func (s *seat) news(frames []byte) (found bool) {
	if s.greeting <= 0 {
		return len(frames) > 0
	}
	for f := range each(frames) {
		switch kind(f) {
		case "welcome", "subbed":
			s.greeting--
		case "err":
			s.greeting--
			found = true
		default:
			found = true
		}
		if s.greeting <= 0 && found {
			return true
		}
	}
	return found
}

// last ends the polls of a session that the relay closed: what is due is still
// given, and the next poll, of a new session, is told the rest by its status.
func (s *seat) last(w http.ResponseWriter, body []byte, news bool, ce *wire.CloseError) {
	err := ask.Err(ce)
	if !news {
		switch {
		case err.Terminal, ce.Code == wire.CodeDraining, ce.Code == wire.CodeOverloaded:
			web.WriteError(w, err)
			return
		}
		body = append(wire.AppendJSON(body, err), ',')
	}
	s.write(w, body, ce.Retry)
}

func (s *seat) write(w http.ResponseWriter, frames []byte, pause int64) {
	out := make([]byte, 0, len(frames)+256)
	out = append(out, '{')
	if s.stays {
		out = append(out, `"session":"`...)
		out = append(out, s.s.ID()...)
		out = append(out, `",`...)
	}
	out = append(out, `"frames":[`...)
	out = append(out, bytes.TrimSuffix(frames, []byte(","))...)
	out = append(out, `],"cursor":"`...)
	out = append(out, s.s.Cursor()...)
	out = append(out, `","retry_ms":`...)
	out = strconv.AppendInt(out, pause, 10)
	out = append(out, "}\n"...)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(out)))
	w.Write(out)
}

// pause is how long the client waits before it asks again, in milliseconds.
func pause(frames []byte) int64 {
	refused, other := false, false
	for f := range each(frames) {
		switch kind(f) {
		case "drain":
			if told, err := wire.DecodeJSON(f, wire.FromServer); err == nil && len(told) == 1 {
				if d, ok := told[0].(*wire.Drain); ok {
					return d.Delay
				}
			}
		case "err":
			refused = true
		case "welcome", "subbed":
		default:
			other = true
		}
	}
	if refused && !other {
		return quiet.Milliseconds()
	}
	return 0
}
