package image

import (
	"archive/tar"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	goruntime "runtime"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Spec says what an image holds and how it runs.
type Spec struct {
	// Name is the full reference, with registry and tag ("example.com/app:1").
	Name string
	// Arch is a GOARCH; empty means this machine's.
	Arch  string
	Files []File
	// Entrypoint and Cmd are as in a Dockerfile.
	Entrypoint []string
	Cmd        []string
	Env        []string // NAME=value
	WorkingDir string
	User       string
	Ports      []string // "80/tcp"
	Volumes    []string
	Labels     map[string]string
}

// File is one file, directory (Mode has os.ModeDir's meaning by a trailing slash in
// Path) or symbolic link of an image. Parents are made as needed.
type File struct {
	Path string
	Data []byte
	// Mode is the permission; 0 means 0644, or 0755 of a directory.
	Mode int64
	// Link makes the file a symbolic link to it.
	Link     string
	UID, GID int
}

// Build returns the image as an OCI layout in a tar archive, as Import and
// `docker load` take it.
func Build(spec Spec) (io.Reader, error) {
	if spec.Name == "" {
		return nil, errors.New("build image: no name given")
	}
	layer, err := layerOf(spec.Files)
	if err != nil {
		return nil, fmt.Errorf("build image %s: %w", spec.Name, err)
	}
	blobs := map[digest.Digest][]byte{}
	add := func(mediaType string, data []byte) ocispec.Descriptor {
		d := digest.FromBytes(data)
		blobs[d] = data
		return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}
	}
	addJSON := func(mediaType string, v any) (ocispec.Descriptor, error) {
		data, err := json.Marshal(v)
		if err != nil {
			return ocispec.Descriptor{}, err
		}
		return add(mediaType, data), nil
	}
	layerDescriptor := add(ocispec.MediaTypeImageLayer, layer)
	config, err := addJSON(ocispec.MediaTypeImageConfig, spec.config(layerDescriptor.Digest))
	if err != nil {
		return nil, err
	}
	manifest, err := addJSON(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    config,
		Layers:    []ocispec.Descriptor{layerDescriptor},
	})
	if err != nil {
		return nil, err
	}
	manifest.Platform = &ocispec.Platform{OS: "linux", Architecture: spec.arch()}
	// containerd names an image by the first annotation, other tools by the second.
	manifest.Annotations = map[string]string{
		"io.containerd.image.name": spec.Name,
		ocispec.AnnotationRefName:  spec.Name,
	}
	return layout(manifest, blobs)
}

func (s Spec) arch() string { return cmp.Or(s.Arch, goruntime.GOARCH) }

func (s Spec) config(layer digest.Digest) ocispec.Image {
	image := ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: s.arch()},
		Config: ocispec.ImageConfig{
			Entrypoint: s.Entrypoint,
			Cmd:        s.Cmd,
			Env:        s.Env,
			WorkingDir: s.WorkingDir,
			User:       s.User,
			Labels:     s.Labels,
		},
		RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{layer}},
	}
	image.Config.ExposedPorts = set(s.Ports)
	image.Config.Volumes = set(s.Volumes)
	return image
}

func set(names []string) map[string]struct{} {
	if len(names) == 0 {
		return nil
	}
	out := make(map[string]struct{}, len(names))
	for _, name := range names {
		out[name] = struct{}{}
	}
	return out
}

// layerOf packs files, sorted, with the directories they need.
func layerOf(files []File) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b File) int { return cmp.Compare(clean(a.Path), clean(b.Path)) })
	made := map[string]bool{".": true}
	for _, f := range files {
		name := clean(f.Path)
		if name == "" || name == "." {
			return nil, fmt.Errorf("file path %q names no file", f.Path)
		}
		if err := parents(w, path.Dir(name), made); err != nil {
			return nil, err
		}
		if made[name] {
			continue
		}
		if err := writeFile(w, name, f); err != nil {
			return nil, err
		}
		made[name] = true
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// clean makes a path relative to the image's root, whatever it climbs out of.
func clean(p string) string { return strings.TrimPrefix(path.Clean("/"+p), "/") }

func parents(w *tar.Writer, dir string, made map[string]bool) error {
	if made[dir] {
		return nil
	}
	if err := parents(w, path.Dir(dir), made); err != nil {
		return err
	}
	made[dir] = true
	return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755, ModTime: time.Unix(0, 0)})
}

func writeFile(w *tar.Writer, name string, f File) error {
	h := &tar.Header{Name: name, Mode: f.Mode, Uid: f.UID, Gid: f.GID, ModTime: time.Unix(0, 0)}
	switch {
	case f.Link != "":
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, f.Link, 0o777
	case strings.HasSuffix(f.Path, "/"):
		h.Typeflag, h.Name, h.Mode = tar.TypeDir, name+"/", cmp.Or(f.Mode, 0o755)
	default:
		h.Typeflag, h.Size, h.Mode = tar.TypeReg, int64(len(f.Data)), cmp.Or(f.Mode, 0o644)
	}
	if err := w.WriteHeader(h); err != nil {
		return fmt.Errorf("pack %s: %w", name, err)
	}
	if h.Typeflag != tar.TypeReg {
		return nil
	}
	_, err := w.Write(f.Data)
	return err
}

// layout packs blobs and the index that names manifest into a tar archive.
func layout(manifest ocispec.Descriptor, blobs map[digest.Digest][]byte) (io.Reader, error) {
	index, err := json.Marshal(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{manifest},
	})
	if err != nil {
		return nil, err
	}
	files := []File{
		{Path: ocispec.ImageLayoutFile, Data: []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		{Path: "index.json", Data: index},
	}
	for d, data := range blobs {
		files = append(files, File{Path: "blobs/sha256/" + d.Encoded(), Data: data})
	}
	archive, err := layerOf(files)
	if err != nil {
		return nil, err
	}
	return bytes.NewReader(archive), nil
}
