package rows

import (
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/sinawi/sinawi/internal/apiserver/resources"
)

// Variant is a further subresource that writes the whole object under rules of
// its own, as status does.
func (s *Served) Variant(typer runtime.ObjectTyper, rules resources.Strategy) *StatusStore {
	return newStatusStore(s.Store.Store, newStrategy(typer, s.Row, rules))
}
