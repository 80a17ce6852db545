package openapi

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/controller/openapi/builder"
	"k8s.io/kube-openapi/pkg/handler"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// merged is the last v2 document that was made of the embedded one and the
// sources'. Few clients ask for it; those that do, ask again.
type merged struct {
	mu   sync.Mutex
	hash string            // guarded by mu
	data map[format][]byte // guarded by mu; packed
}

// v2 returns the packed v2 document and its hash.
func (p *Publisher) v2(f format) ([]byte, string, error) {
	built, err := index()
	if err != nil {
		return nil, "", err
	}
	hash := built[v2Name]
	var docs []*spec.Swagger
	for _, s := range p.sources {
		more, h, err := s.V2()
		if err != nil {
			return nil, "", err
		}
		if len(more) != 0 {
			docs = append(docs, more...)
			hash += "-" + h
		}
	}
	if len(docs) == 0 {
		data, err := packed(v2Name, f)
		return data, hash, err
	}
	p.merged.mu.Lock()
	defer p.merged.mu.Unlock()
	if p.merged.hash != hash {
		data, err := merge(docs)
		if err != nil {
			return nil, "", err
		}
		p.merged.hash, p.merged.data = hash, data
	}
	return p.merged.data[f], hash, nil
}

func merge(docs []*spec.Swagger) (map[format][]byte, error) {
	data, err := packed(v2Name, asJSON)
	if err != nil {
		return nil, err
	}
	if data, err = unpack(data); err != nil {
		return nil, err
	}
	var static spec.Swagger
	if err := json.Unmarshal(data, &static); err != nil {
		return nil, fmt.Errorf("read the v2 document: %w", err)
	}
	all, err := builder.MergeSpecs(&static, slices.Clone(docs)...)
	if err != nil {
		return nil, fmt.Errorf("merge v2 documents: %w", err)
	}
	text, err := all.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("encode the v2 document: %w", err)
	}
	proto, err := handler.ToProtoBinary(text)
	if err != nil {
		return nil, fmt.Errorf("encode the v2 document: %w", err)
	}
	return map[format][]byte{asJSON: pack(text), protobuf: pack(proto)}, nil
}
