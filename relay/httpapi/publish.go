package httpapi

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/web"
	"github.com/chappe-relay/chappe/relay/wire"
)

// publish takes one message: the body is its payload.
func (a *API) publish(w http.ResponseWriter, r *http.Request) {
	who, remote, err := a.Admit(w, r)
	if err != nil {
		web.WriteError(w, err)
		return
	}
	p := &wire.Pub{
		Channel: r.PathValue("channel"),
		ID:      r.Header.Get("Chappe-Id"), Key: r.Header.Get("Chappe-Key"),
		Event: r.Header.Get("Chappe-Event"), Ack: r.Header.Get("Chappe-Ack"),
	}
	if v := r.Header.Get("Chappe-Ttl"); v != "" {
		ms, perr := strconv.ParseInt(v, 10, 64)
		if perr != nil || ms < 0 {
			web.WriteError(w, &wire.Err{Code: wire.CodeBadRequest, Text: "Chappe-Ttl is a number of milliseconds"})
			return
		}
		p.TTL = ms
	}
	if p.Data, err = body(w, r, a.Host.Node().Table().For(p.Channel).Message); err != nil {
		web.WriteError(w, err)
		return
	}
	ack, err := a.send(r, who, remote, p)
	if err != nil {
		web.WriteError(w, err)
		return
	}
	w.Header().Set("Chappe-Stamp", ack.Stamp.String())
	write(w, ack)
}

// send publishes for a client. With Chappe-Session it is that session of the
// same client that publishes, and does not get the message back. A session that
// has ended gets nothing anyway: then the message goes out as any other.
func (a *API) send(r *http.Request, who *identity.Identity, remote string, p *wire.Pub) (*wire.Ack, *wire.Err) {
	if id := r.Header.Get("Chappe-Session"); id != "" {
		if s := a.Host.Lookup(id); s != nil {
			if !owns(who, s.Identity()) {
				return nil, noSession
			}
			p.Quiet = true
			return s.PublishAs(p)
		}
	}
	if err := a.rates.take(who, remote); err != nil {
		return nil, err
	}
	return a.Host.Publish(who, remote, p)
}

// owns reports whether a request comes from the client of a session.
func owns(who, of *identity.Identity) bool {
	return of != nil && who.User == of.User && who.Key == of.Key
}

var noSession = &wire.Err{Code: wire.CodeNoSession, Text: "no such session on this node"}

// bodyTimeout is how long a body may take: the largest one over a line of 100 kbit/s.
const bodyTimeout = 30 * time.Second

// body reads at most limit bytes.
func body(w http.ResponseWriter, r *http.Request, limit int) ([]byte, *wire.Err) {
	if r.ContentLength > int64(limit) {
		return nil, tooBig(limit)
	}
	var b bytes.Buffer
	if r.ContentLength > 0 {
		b.Grow(int(r.ContentLength) + bytes.MinRead) // ReadFrom grows when less than MinRead is free
	}
	// The deadline stays where a body failed: before it answers, net/http reads what
	// is left of one.
	rc := http.NewResponseController(w)
	rc.SetReadDeadline(time.Now().Add(bodyTimeout))
	if _, err := b.ReadFrom(http.MaxBytesReader(w, r.Body, int64(limit))); err != nil {
		if _, over := errors.AsType[*http.MaxBytesError](err); over {
			return nil, tooBig(limit)
		}
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, &wire.Err{Code: wire.CodeBadRequest, Text: "the body ends early"}
		}
		return nil, &wire.Err{Code: wire.CodeTimeout, Text: "the body did not come"}
	}
	rc.SetReadDeadline(time.Time{}) // else it would end a request that waits for its answer
	return b.Bytes(), nil
}

func tooBig(limit int) *wire.Err {
	return &wire.Err{Code: wire.CodeTooBig, Text: "a body is at most " + strconv.Itoa(limit) + " bytes here"}
}
