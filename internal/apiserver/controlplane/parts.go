package controlplane

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"

	"github.com/sinawi/sinawi/internal/apiserver/defaults"
	"github.com/sinawi/sinawi/internal/apiserver/plug"
)

// extensions are all parts beside the rows, in the order in which they run.
func extensions(_ Options, who *identity) []plug.Extension {
	return []plug.Extension{
		who.documents,
	}
}

func registerDefaults(s *runtime.Scheme) error { return defaults.Core(s) }

// authorize lets the administrator do everything and nobody else anything.
func authorize(*plug.Host) (authorizer.Authorizer, authorizer.RuleResolver, error) {
	a := authorizerfactory.NewPrivilegedGroups("system:masters")
	return a, nil, nil
}
