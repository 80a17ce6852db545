package openapi

import (
	"bytes"
	"compress/gzip"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/util/managedfields"

	"github.com/sinawi/sinawi/internal/apiserver/openapi/mergetypes"
)

//go:embed embedded
var embedded embed.FS

// v2Name is the index's name of the v2 document.
const v2Name = "v2"

// index maps the paths of the embedded documents ("apis/apps/v1", and "v2")
// to their hashes.
func index() (map[string]string, error) { return readIndex("index.json") }

func readIndex(name string) (map[string]string, error) {
	data, err := embedded.ReadFile("embedded/" + name)
	if err != nil {
		return nil, fmt.Errorf("OpenAPI index: %w", err)
	}
	out := map[string]string{}
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, fmt.Errorf("OpenAPI index: %w", err)
	}
	return out, nil
}

// Paths are the group versions that have an embedded v3 document.
func Paths() ([]string, error) {
	all, err := index()
	if err != nil {
		return nil, err
	}
	var paths []string
	for path := range all {
		if path != v2Name {
			paths = append(paths, path)
		}
	}
	return paths, nil
}

// packed returns the compressed bytes of a document as JSON or protobuf.
func packed(path string, f format) ([]byte, error) {
	name := v2Name
	if path != v2Name {
		name = "v3." + strings.ReplaceAll(path, "/", "~")
	}
	return fs.ReadFile(embedded, "embedded/"+name+"."+f.suffix()+".gz")
}

func unpack(data []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// MergeTypes converts objects by the schemas of the built-in kinds. They are
// unpacked when the first object is written.
func MergeTypes() managedfields.TypeConverter {
	return mergetypes.Converter(sync.OnceValues(func() (mergetypes.Types, error) {
		data, err := embedded.ReadFile("embedded/mergetypes.gz")
		if err != nil {
			return mergetypes.Types{}, fmt.Errorf("merge types: %w", err)
		}
		if data, err = unpack(data); err != nil {
			return mergetypes.Types{}, fmt.Errorf("unpack merge types: %w", err)
		}
		return mergetypes.Decode(data)
	}))
}
