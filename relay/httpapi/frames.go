package httpapi

import (
	"errors"
	"mime"
	"net/http"
	"strconv"

	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/web"
	"github.com/chappe-relay/chappe/relay/wire"
)

// BinaryType is the media type of frames in the binary form.
const BinaryType = "application/vnd.chappe.v1+bin"

// frames takes what a client whose stream goes one way has to say. The answers
// come on that stream; this one only says how many frames were taken in.
func (a *API) frames(w http.ResponseWriter, r *http.Request) {
	who, _, err := a.Admit(w, r)
	if err != nil {
		web.WriteError(w, err)
		return
	}
	raw, err := body(w, r, a.Body)
	if err != nil {
		web.WriteError(w, err)
		return
	}
	u := upstream{ID: r.PathValue("id"), User: who.User, Key: who.Key, Type: r.Header.Get("Content-Type"), Body: raw}
	n, err := a.take(&u)
	if err == noSession && a.Forward != nil {
		n, err = a.forward(r.Context(), &u)
	}
	if err != nil {
		web.WriteError(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Write([]byte(`{"accepted":` + strconv.Itoa(n) + "}\n"))
}

// take gives frames to a session of this node, and returns how many.
func (a *API) take(u *upstream) (int, *wire.Err) {
	s := a.Host.Lookup(u.ID)
	switch {
	case s == nil, s.Transport() == "ws", s.Transport() == "wt": // those go both ways
		return 0, noSession
	case !owns(&identity.Identity{User: u.User, Key: u.Key}, s.Identity()):
		return 0, &wire.Err{Code: wire.CodeForbidden, Text: "that session is another client's"}
	}
	frames, err := decode(u.Type, u.Body)
	if err != nil {
		return 0, err
	}
	s.Alive()
	s.CountIn(len(u.Body))
	for _, f := range frames {
		if ce := s.Receive(f); ce != nil {
			s.Close(ce)
			return 0, &wire.Err{Code: ce.Code, Text: ce.Text, Retry: ce.Retry}
		}
	}
	return len(frames), nil
}

// decode reads the frames, all or none: of a body that is faulty nothing is done.
func decode(contentType string, raw []byte) ([]wire.Frame, *wire.Err) {
	read := wire.DecodeJSON
	switch kind, _, _ := mime.ParseMediaType(contentType); kind {
	case BinaryType:
		read = wire.DecodeBinary
	case "", "application/json", "text/plain", "application/x-www-form-urlencoded": // curl -d, and fetch without a preflight
	default:
		return nil, &wire.Err{Code: wire.CodeUnsupported, Text: "frames come as application/json or " + BinaryType}
	}
	frames, err := read(raw, wire.FromClient)
	if err != nil {
		if e, ok := errors.AsType[*wire.DecodeError](err); ok {
			return nil, &wire.Err{Ref: e.Ref, Code: e.Code, Text: e.Text}
		}
		return nil, &wire.Err{Code: wire.CodeBadFrame, Text: "not frames"}
	}
	for _, f := range frames {
		if _, ok := f.(*wire.Hello); ok {
			return nil, &wire.Err{Code: wire.CodeBadFrame, Text: "the stream began with its GET: there is no hello"}
		}
	}
	return frames, nil
}
