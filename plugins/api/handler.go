package api

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"

	"github.com/chappe-relay/chappe/plugins"
	"github.com/chappe-relay/chappe/plugins/registry"
	"github.com/chappe-relay/chappe/relay/policy"
)

type handler struct {
	host *plugins.Host
	log  *slog.Logger
}

// Handler returns the API of a host. Logger gets the causes of what clients see
// as internal; nil: nobody does.
func Handler(host *plugins.Host, logger *slog.Logger) http.Handler {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	h := &handler{host, logger}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/plugins", h.push)
	mux.HandleFunc("GET /v1/plugins", h.list)
	mux.HandleFunc("GET /v1/plugins/{name}", h.get)
	mux.HandleFunc("DELETE /v1/plugins/{name}", h.remove)
	mux.HandleFunc("POST /v1/plugins/{name}/bind", h.bind)
	mux.HandleFunc("POST /v1/plugins/{name}/unbind", h.unbind)
	mux.HandleFunc("POST /v1/plugins/{name}/promote", h.promote)
	mux.HandleFunc("POST /v1/plugins/{name}/rollback", h.rollback)
	mux.HandleFunc("GET /v1/plugins/{name}/logs", h.logs)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		h.fail(w, r, &plugins.Refusal{Reason: plugins.NotFound, Text: "no such route, or not with this method"})
	})
	return mux
}

func (h *handler) list(w http.ResponseWriter, r *http.Request) {
	all := h.host.List()
	out := make([]Plugin, 0, len(all))
	for i := range all {
		out = append(out, pluginOf(&all[i]))
	}
	answer(w, http.StatusOK, map[string][]Plugin{"plugins": out})
}

func (h *handler) get(w http.ResponseWriter, r *http.Request) {
	all := h.host.List()
	for i := range all {
		if all[i].Name == r.PathValue("name") {
			answer(w, http.StatusOK, pluginOf(&all[i]))
			return
		}
	}
	h.fail(w, r, &plugins.Refusal{Reason: plugins.NotFound, Text: "no such plugin"})
}

func (h *handler) bind(w http.ResponseWriter, r *http.Request) {
	var in BindRequest
	if !h.read(w, r, &in) {
		return
	}
	d, err := h.host.Find(r.PathValue("name"), in.Version)
	var out []registry.Binding
	if err == nil {
		out, err = h.host.Bind(r.Context(), r.PathValue("name"), d, in.Channels, in.Canary)
	}
	h.bindings(w, r, out, err)
}

func (h *handler) unbind(w http.ResponseWriter, r *http.Request) {
	var in ChannelsRequest
	if h.read(w, r, &in) {
		out, err := h.host.Unbind(r.Context(), r.PathValue("name"), in.Channels)
		h.bindings(w, r, out, err)
	}
}

func (h *handler) promote(w http.ResponseWriter, r *http.Request) {
	var in PromoteRequest
	if h.read(w, r, &in) {
		out, err := h.host.Promote(r.Context(), r.PathValue("name"), in.Channels, plugins.Promotion{Reauthorise: in.Reauthorise, Force: in.Force})
		h.bindings(w, r, out, err)
	}
}

func (h *handler) rollback(w http.ResponseWriter, r *http.Request) {
	var in ChannelsRequest
	if h.read(w, r, &in) {
		out, err := h.host.Rollback(r.Context(), r.PathValue("name"), in.Channels)
		h.bindings(w, r, out, err)
	}
}

func (h *handler) remove(w http.ResponseWriter, r *http.Request) {
	name, digits := r.PathValue("name"), r.URL.Query().Get("version")
	d, err := h.host.Find(name, digits)
	if err == nil {
		err = h.host.Delete(r.Context(), name, d)
	}
	if err != nil {
		h.fail(w, r, err)
		return
	}
	out := map[string]string{"deleted": name}
	if d != (policy.Digest{}) {
		out["version"] = digits
	}
	answer(w, http.StatusOK, out)
}

func (h *handler) bindings(w http.ResponseWriter, r *http.Request, out []registry.Binding, err error) {
	if err != nil {
		h.fail(w, r, err)
		return
	}
	answer(w, http.StatusOK, Bindings{out})
}

// maxBody is for a list of channels.
const maxBody = 1 << 20

// read reads a JSON body, strictly: a misspelt "reauthorise" must not promote
// without. An empty body is an empty object.
func (h *handler) read(w http.ResponseWriter, r *http.Request, into any) bool {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if errors.Is(err, io.EOF) {
		return true
	}
	if err == nil {
		if _, more := d.Token(); more != io.EOF {
			err = errors.New("something follows the object")
		}
	}
	if err != nil {
		h.fail(w, r, unreadable(err))
		return false
	}
	return true
}

// badRequest is the reason of what the host never hears of.
const badRequest plugins.Reason = "bad_request"

func unreadable(err error) *plugins.Refusal {
	if big, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &plugins.Refusal{Reason: plugins.TooBig, Text: "the body has more than " + strconv.FormatInt(big.Limit, 10) + " bytes"}
	}
	return &plugins.Refusal{Reason: badRequest, Text: "the body cannot be read: " + err.Error()}
}

func statusOf(r plugins.Reason) int {
	switch r {
	case plugins.BadManifest, plugins.BadBinding, badRequest:
		return http.StatusBadRequest
	case plugins.BadSignature:
		return http.StatusForbidden
	case plugins.NotFound:
		return http.StatusNotFound
	case plugins.Replayed, plugins.Conflict:
		return http.StatusConflict
	case plugins.TooBig:
		return http.StatusRequestEntityTooLarge
	case plugins.BadModule, plugins.CompileLimit, plugins.TestFailed:
		return http.StatusUnprocessableEntity
	case plugins.Busy:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// fail answers a refusal. What is our own fault goes to the log, not to clients.
func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	e := Error{Code: string(plugins.Failed), Text: "the host failed; its log says why"}
	if why, ok := errors.AsType[*plugins.Refusal](err); ok && why.Reason != plugins.Failed {
		e = Error{Code: string(why.Reason), Text: why.Text, Rule: why.Rule, Function: why.Function, Offset: why.Offset}
	} else {
		h.log.Error("plugin administration failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	status := statusOf(plugins.Reason(e.Code))
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "2")
	}
	answer(w, status, map[string]Error{"error": e})
}

func answer(w http.ResponseWriter, status int, body any) {
	b, err := json.Marshal(body)
	if err != nil { // none of our types can fail
		b, status = []byte(`{"error":{"code":"internal","text":"the answer cannot be written"}}`), http.StatusInternalServerError
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	w.Write(append(b, '\n'))
}
