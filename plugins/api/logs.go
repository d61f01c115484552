package api

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/chappe-relay/chappe/plugins"
)

// logs streams lines as JSON (application/x-ndjson), each flushed when it comes.
func (h *handler) logs(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	tail := 100
	if s := q.Get("tail"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 {
			h.fail(w, r, &plugins.Refusal{Reason: badRequest, Text: "tail: want a number of lines"})
			return
		}
		tail = n
	}
	name := r.PathValue("name")
	if !h.host.Knows(name) {
		h.fail(w, r, &plugins.Refusal{Reason: plugins.NotFound, Text: "no such plugin"})
		return
	}
	follow := q.Has("follow") && q.Get("follow") != "false"
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusOK)
	out := http.NewResponseController(w)
	if follow {
		out.SetWriteDeadline(time.Time{}) // a stream has no end; a server without deadlines says no, and that is as well
		out.Flush()
	}
	enc := json.NewEncoder(w)
	for line := range h.host.Logs(r.Context(), name, tail, follow) {
		if enc.Encode(line) != nil || follow && out.Flush() != nil {
			return
		}
	}
}
