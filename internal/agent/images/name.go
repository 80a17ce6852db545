package images

import (
	"fmt"

	"github.com/distribution/reference"
)

// name is an image's name as the runtime gets it and its repository in full.
type name struct {
	image string // as written, with a tag
	repo  string // docker.io/library/busybox
	named reference.Named
}

// full is the name with its registry, as the runtime lists it.
func (n name) full() string { return reference.TagNameOnly(n.named).String() }

// parseName adds the default tag to a name that has neither tag nor digest. The
// rest stays as it is written: which registry a short name means is the
// runtime's decision.
func parseName(image string) (name, error) {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return name{}, fmt.Errorf("couldn't parse image name %q: %w", image, err)
	}
	if reference.IsNameOnly(named) {
		image += ":latest"
	}
	return name{image: image, repo: named.Name(), named: named}, nil
}
