package chappe

import (
	"encoding/json"

	"github.com/chappe-relay/chappe/relay/wire"
)

// encode returns one WebSocket message that holds f.
func encode(f wire.Frame, bin bool) []byte {
	if bin {
		return wire.AppendBinary(nil, f)
	}
	return wire.AppendJSON(nil, f)
}

// decode reads one WebSocket message of a relay.
func decode(data []byte, bin bool) ([]wire.Frame, error) {
	if bin {
		return wire.DecodeBinary(data, wire.FromServer)
	}
	return wire.DecodeJSON(data, wire.FromServer)
}

// errorBody reads the body of a refusal (PROTOCOL §1.10); a zero Err if it is not one of ours.
func errorBody(body []byte) wire.Err {
	var of struct {
		Error struct {
			Code     wire.Code `json:"code"`
			Text     string    `json:"text"`
			Retry    int64     `json:"retry_ms"`
			Terminal bool      `json:"terminal"`
		} `json:"error"`
	}
	if json.Unmarshal(body, &of) != nil {
		return wire.Err{}
	}
	e := of.Error
	return wire.Err{Code: e.Code, Text: e.Text, Retry: e.Retry, Terminal: e.Terminal}
}
