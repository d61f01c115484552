package api

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/chappe-relay/chappe/plugins/manifest"
)

// maxUpload is for the parts and what is around them.
const maxUpload = manifest.MaxWasm + manifest.MaxBytes + 64<<10

func (h *handler) push(w http.ResponseWriter, r *http.Request) {
	b, err := readUpload(w, r)
	if err != nil {
		h.fail(w, r, unreadable(err))
		return
	}
	v, known, err := h.host.Push(r.Context(), b)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	status := http.StatusCreated
	if known {
		status = http.StatusOK
	}
	answer(w, status, Pushed{v, known})
}

// readUpload reads the parts into memory: they are bounded, and a temporary file
// would be one more copy to look after.
func readUpload(w http.ResponseWriter, r *http.Request) (*manifest.Bundle, error) {
	r.Body = http.MaxBytesReader(w, r.Body, maxUpload)
	parts, err := r.MultipartReader()
	if err != nil {
		return nil, err
	}
	got := make(map[string][]byte)
	for {
		p, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		name := p.FormName()
		switch _, twice := got[name]; {
		case twice:
			return nil, fmt.Errorf("part %s is there twice", name)
		case name != "manifest" && name != "wasm" && name != "signature":
			return nil, fmt.Errorf("part %.40q: manifest, wasm and signature are known", name)
		}
		if got[name], err = io.ReadAll(p); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{"manifest", "wasm"} {
		if len(got[name]) == 0 {
			return nil, fmt.Errorf("part %s is missing", name)
		}
	}
	// One line end: a signature that lies in a file has it.
	signature, _ := strings.CutSuffix(string(got["signature"]), "\n")
	return &manifest.Bundle{Manifest: got["manifest"], Wasm: got["wasm"], Signature: signature}, nil
}
