package admin

import (
	"errors"
	"io"
	"net/http"
)

// Settings are the keys of the configuration that change while nodes run, on all
// nodes. Its methods are called from many goroutines.
type Settings interface {
	// List returns all that can be set, in any order.
	List() []Setting
	// Set gives a key a value, in the form that a variable of the environment has. It
	// returns when it is kept and in force here; other nodes hear of it in a moment.
	// The error is a *Refusal.
	Set(key, value string) error
	// Unset lets each node's own configuration count again.
	Unset(key string) error
}

// Setting is a key with its value in force.
type Setting struct {
	Key   string  `json:"key"`
	Value string  `json:"value"`
	From  string  `json:"from"`           // a file and line, the environment, "default", or who set it and when
	Own   *string `json:"own,omitempty"`  // where it is set: what this node's configuration says
	Idle  string  `json:"idle,omitempty"` // where it is set without effect here: why
}

// maxSetting is the longest value, in bytes.
const maxSetting = 4 << 10

func (h *handler) settings(w http.ResponseWriter, r *http.Request) {
	all := h.Settings.List()
	total := len(all)
	items, next, ok := page(w, r, all, func(s Setting) string { return s.Key })
	if !ok {
		return
	}
	answer(w, http.StatusOK, struct {
		Total    int       `json:"total"`
		Settings []Setting `json:"settings"`
		Next     string    `json:"next,omitempty"`
	}{total, append([]Setting{}, items...), next})
}

func (h *handler) set(w http.ResponseWriter, r *http.Request) {
	key := r.PathValue("key")
	value, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxSetting))
	if err != nil {
		fail(w, http.StatusBadRequest, "bad_request", "the body is the value, of at most 4 KiB")
		return
	}
	if h.refused(w, "set", key, h.Settings.Set(key, string(value))) {
		return
	}
	h.Logger.Info("admin: set", "key", key, "value", string(value), "by", r.RemoteAddr)
	answer(w, http.StatusOK, map[string]string{"key": key, "value": string(value)})
}

func (h *handler) unset(w http.ResponseWriter, r *http.Request) {
	key := r.PathValue("key")
	if h.refused(w, "unset", key, h.Settings.Unset(key)) {
		return
	}
	h.Logger.Info("admin: unset", "key", key, "by", r.RemoteAddr)
	answer(w, http.StatusOK, map[string]string{"key": key})
}

// refused answers with an error, if there is one.
func (h *handler) refused(w http.ResponseWriter, what, key string, err error) bool {
	if err == nil {
		return false
	}
	why, ok := errors.AsType[*Refusal](err)
	if !ok {
		why = &Refusal{Code: "internal", Text: "the log says why"}
	}
	status := http.StatusServiceUnavailable
	switch why.Code {
	case "bad_request":
		status = http.StatusBadRequest
	case "not_found":
		status = http.StatusNotFound
	case "restart":
		status = http.StatusConflict
	default:
		h.Logger.Error("admin: "+what, "key", key, "err", err)
	}
	fail(w, status, why.Code, why.Text)
	return true
}
