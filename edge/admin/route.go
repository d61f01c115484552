package admin

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/chappe-relay/chappe/relay/channel"
)

// Pages of the lists.
const (
	defaultPage = 100
	maxPage     = 1000 // about 300 KiB of JSON
)

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// An error here is a client that went away.
	_ = json.NewEncoder(w).Encode(body)
}

func fail(w http.ResponseWriter, status int, code, text string) {
	answer(w, status, map[string]any{"error": map[string]string{"code": code, "text": text}})
}

// byMethod picks the handler of a method; HEAD is answered by GET's.
func byMethod(methods map[string]http.HandlerFunc) http.Handler {
	var names []string
	for name := range methods {
		names = append(names, name)
	}
	slices.Sort(names)
	allowed := strings.Join(names, ", ")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		if serve := methods[method]; serve != nil {
			serve(w, r)
			return
		}
		w.Header().Set("Allow", allowed)
		fail(w, http.StatusMethodNotAllowed, "bad_request", "this route takes "+allowed)
	})
}

func (h *handler) health(w http.ResponseWriter, r *http.Request) {
	answer(w, http.StatusOK, map[string]bool{"ok": true})
}

func (h *handler) ready(w http.ResponseWriter, r *http.Request) {
	if err := h.Relay.Ready(); err != nil {
		fail(w, http.StatusServiceUnavailable, "not_ready", err.Error())
		return
	}
	body := struct {
		Ready    bool     `json:"ready"`
		Warnings []string `json:"warnings,omitempty"`
	}{Ready: true}
	if h.Warnings != nil {
		body.Warnings = h.Warnings()
	}
	answer(w, http.StatusOK, body)
}

func (h *handler) load(w http.ResponseWriter, r *http.Request) {
	answer(w, http.StatusOK, h.Relay.Load())
}

// page cuts a list that is sorted by key: ?limit=, and ?after= the key of the
// last item seen. It has answered when ok is false.
func page[T any](w http.ResponseWriter, r *http.Request, list []T, key func(T) string) (items []T, next string, ok bool) {
	limit := defaultPage
	if text := r.FormValue("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxPage {
			fail(w, http.StatusBadRequest, "bad_request", "limit: want a number from 1 to "+strconv.Itoa(maxPage))
			return nil, "", false
		}
		limit = n
	}
	slices.SortFunc(list, func(a, b T) int { return cmp.Compare(key(a), key(b)) })
	if after := r.FormValue("after"); after != "" {
		i, found := slices.BinarySearchFunc(list, after, func(t T, k string) int { return cmp.Compare(key(t), k) })
		if found {
			i++
		}
		list = list[i:]
	}
	if len(list) > limit {
		list = list[:limit]
		next = key(list[limit-1])
	}
	return list, next, true
}

func (h *handler) connections(w http.ResponseWriter, r *http.Request) {
	user, name := r.FormValue("user"), r.FormValue("channel")
	all := slices.DeleteFunc(h.Relay.Connections(), func(c Connection) bool {
		return user != "" && c.User != user || name != "" && !slices.Contains(c.Channels, name)
	})
	total := len(all)
	items, next, ok := page(w, r, all, func(c Connection) string { return c.ID })
	if !ok {
		return
	}
	for i := range items {
		if items[i].Channels == nil {
			items[i].Channels = []string{} // null would be one more case for every script
		}
	}
	answer(w, http.StatusOK, struct {
		Total       int          `json:"total"`
		Connections []Connection `json:"connections"`
		Next        string       `json:"next,omitempty"` // ?after= of the next page
	}{total, append([]Connection{}, items...), next})
}

func (h *handler) channels(w http.ResponseWriter, r *http.Request) {
	prefix := r.FormValue("prefix")
	all := slices.DeleteFunc(h.Relay.Channels(), func(c Channel) bool { return !strings.HasPrefix(c.Name, prefix) })
	total := len(all)
	items, next, ok := page(w, r, all, func(c Channel) string { return c.Name })
	if !ok {
		return
	}
	answer(w, http.StatusOK, struct {
		Total    int       `json:"total"`
		Channels []Channel `json:"channels"`
		Next     string    `json:"next,omitempty"`
	}{total, append([]Channel{}, items...), next})
}

func (h *handler) regions(w http.ResponseWriter, r *http.Request) {
	all := h.Regions()
	slices.SortFunc(all.Members, func(a, b Member) int {
		return cmp.Or(cmp.Compare(a.Region, b.Region), cmp.Compare(a.Node, b.Node))
	})
	all.Members, all.Links, all.Missing = append([]Member{}, all.Members...), append([]Link{}, all.Links...), append([]string{}, all.Missing...)
	answer(w, http.StatusOK, all)
}

func (h *handler) disconnect(w http.ResponseWriter, r *http.Request) {
	user := r.PathValue("user")
	n := h.Relay.Disconnect(user)
	h.Logger.Info("admin: user disconnected", "user", user, "connections", n, "by", r.RemoteAddr)
	answer(w, http.StatusOK, map[string]int{"disconnected": n})
}

func (h *handler) unsubscribe(w http.ResponseWriter, r *http.Request) {
	user, name := r.PathValue("user"), r.FormValue("channel")
	if _, err := channel.CheckPattern(name); err != nil {
		fail(w, http.StatusBadRequest, "bad_channel", err.Error())
		return
	}
	n := h.Relay.Unsubscribe(user, name)
	h.Logger.Info("admin: user unsubscribed", "user", user, "channel", name, "subscriptions", n, "by", r.RemoteAddr)
	answer(w, http.StatusOK, map[string]int{"unsubscribed": n})
}

func (h *handler) clear(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("channel")
	if err := channel.Check(name); err != nil {
		fail(w, http.StatusBadRequest, "bad_channel", err.Error())
		return
	}
	if err := h.Relay.Clear(name); err != nil {
		h.Logger.Error("admin: clear history", "channel", name, "err", err)
		fail(w, http.StatusInternalServerError, "internal", "the history could not be cleared; the log says why")
		return
	}
	h.Logger.Info("admin: history cleared", "channel", name, "by", r.RemoteAddr)
	answer(w, http.StatusOK, map[string]string{"cleared": name})
}
