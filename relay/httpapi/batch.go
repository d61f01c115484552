package httpapi

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"unicode/utf8"

	"github.com/chappe-relay/chappe/relay/web"
	"github.com/chappe-relay/chappe/relay/wire"
)

// item is one message of a batch: the fields of a pub frame.
type item struct {
	Channel string          `json:"channel"`
	ID      string          `json:"id"`
	Key     string          `json:"key"`
	Event   string          `json:"event"`
	TTL     int64           `json:"ttl_ms"`
	Ack     string          `json:"ack"`
	Enc     string          `json:"enc"`
	Data    json.RawMessage `json:"data"`
}

// batch publishes many messages, in order. Each has its own result: one that
// fails undoes none of the others.
func (a *API) batch(w http.ResponseWriter, r *http.Request) {
	who, remote, err := a.Admit(w, r)
	var raw []byte
	if err == nil {
		raw, err = body(w, r, a.Body)
	}
	var items []item
	if err == nil {
		items, err = a.readBatch(raw)
	}
	if err != nil {
		web.WriteError(w, err)
		return
	}
	out := []byte(`{"results":[`)
	for i := range items {
		if i > 0 {
			out = append(out, ',')
		}
		p, err := items[i].pub()
		var ack *wire.Ack
		if err == nil {
			ack, err = a.send(r, who, remote, p)
		}
		if err != nil {
			out = wire.AppendJSON(out, &wire.Err{Channel: items[i].Channel, Code: err.Code, Text: err.Text, Retry: err.Retry})
			continue
		}
		out = wire.AppendJSON(out, ack)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Write(append(out, "]}\n"...))
}

// readBatch reads a batch strictly: a field that is not known is most likely a
// misspelt one, and a message without it is not what was meant.
func (a *API) readBatch(raw []byte) ([]item, *wire.Err) {
	if !utf8.Valid(raw) {
		return nil, &wire.Err{Code: wire.CodeBadUTF8, Text: "the body is not UTF-8"}
	}
	var all struct {
		Messages []item `json:"messages"`
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&all); err != nil {
		return nil, &wire.Err{Code: wire.CodeBadJSON, Text: "the body is not a batch: " + err.Error()}
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, &wire.Err{Code: wire.CodeBadJSON, Text: "the body holds more than one value"}
	}
	switch limit := a.Host.Limits().Batch; {
	case len(all.Messages) == 0:
		return nil, &wire.Err{Code: wire.CodeBadRequest, Text: `"messages" is empty`}
	case len(all.Messages) > limit:
		return nil, &wire.Err{Code: wire.CodeTooMany, Text: "more than " + strconv.Itoa(limit) + " messages in one batch"}
	}
	return all.Messages, nil
}

// pub turns an item into the frame it stands for (PROTOCOL §4.2).
func (m *item) pub() (*wire.Pub, *wire.Err) {
	p := &wire.Pub{Channel: m.Channel, ID: m.ID, Key: m.Key, Event: m.Event, TTL: m.TTL, Ack: m.Ack}
	if m.Enc == "" {
		var b bytes.Buffer
		json.Compact(&b, m.Data) // it was parsed; an absent one stays empty
		p.Data = b.Bytes()
		return p, nil
	}
	var text string
	if json.Unmarshal(m.Data, &text) != nil {
		return nil, &wire.Err{Code: wire.CodeBadRequest, Text: `"data" is not a string, as "enc" says`}
	}
	switch m.Enc {
	case "text":
		p.Data = []byte(text)
		return p, nil
	case "base64":
		data, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, &wire.Err{Code: wire.CodeBadRequest, Text: `"data" is not base64, as "enc" says`}
		}
		p.Data = data
		return p, nil
	}
	return nil, &wire.Err{Code: wire.CodeBadRequest, Text: `"enc" is none of "text" and "base64"`}
}
