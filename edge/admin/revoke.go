package admin

import (
	"errors"
	"net/http"
	"time"
)

// How long a revocation is in force: until all that it concerns has ended by
// itself. Nobody knows when that is but who issues tokens.
const (
	revokedFor = 30 * 24 * time.Hour
	maxRevoked = 366 * 24 * time.Hour
)

// maxName is the longest user or token id that a token can have.
const maxName = 256

func (h *handler) revoke(w http.ResponseWriter, r *http.Request) {
	one := Revocation{User: r.PathValue("user"), Token: r.PathValue("token"), At: time.Now().UTC().Truncate(time.Millisecond)}
	if len(one.User)+len(one.Token) > maxName {
		fail(w, http.StatusBadRequest, "bad_request", "a name of more than 256 bytes is nobody's")
		return
	}
	last := revokedFor
	if text := r.FormValue("for"); text != "" {
		var err error
		if last, err = time.ParseDuration(text); err != nil || last <= 0 || last > maxRevoked {
			fail(w, http.StatusBadRequest, "bad_request", "for: want a time such as 24h, at most 8784h")
			return
		}
	}
	one.Until = one.At.Add(last)
	if err := h.Revoker.Revoke(one); err != nil {
		code, text := "internal", "the log says why"
		if refused, ok := errors.AsType[*Refusal](err); ok {
			code, text = refused.Code, refused.Text
		}
		h.Logger.Error("admin: revoke", "user", one.User, "token", one.Token, "err", err)
		fail(w, http.StatusServiceUnavailable, code, "not revoked: "+text)
		return
	}
	h.Logger.Info("admin: revoked", "user", one.User, "token", one.Token, "until", one.Until, "by", r.RemoteAddr)
	answer(w, http.StatusOK, one)
}

func (h *handler) revocations(w http.ResponseWriter, r *http.Request) {
	all := h.Revoker.Revocations()
	total := len(all)
	items, next, ok := page(w, r, all, func(r Revocation) string {
		return r.User + "/" + r.Token + "/" + r.At.UTC().Format(time.RFC3339Nano)
	})
	if !ok {
		return
	}
	answer(w, http.StatusOK, struct {
		Total       int          `json:"total"`
		Revocations []Revocation `json:"revocations"`
		Next        string       `json:"next,omitempty"`
	}{total, append([]Revocation{}, items...), next})
}
