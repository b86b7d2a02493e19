"""The providers that ComputeSDK's gateway knows, and their credentials."""
from computesdk_wire import Refusal

# name: the sets of headers of which one has to be there
PROVIDERS = {
    'computesdk': (), 'just-bash': (), 'secure-exec': (), 'docker': (),
    'e2b': (('X-E2B-API-Key',),),
    'modal': (('X-Modal-Token-Id', 'X-Modal-Token-Secret'),),
    'railway': (('X-Railway-API-Key', 'X-Railway-Project-ID',
                 'X-Railway-Environment-ID'),),
    'render': (('X-Render-API-Key', 'X-Render-Owner-ID'),),
    'daytona': (('X-Daytona-API-Key',),),
    'vercel': (('X-Vercel-OIDC-Token',),
               ('X-Vercel-Token', 'X-Vercel-Team-Id',
                'X-Vercel-Project-Id')),
    'runloop': (('X-Runloop-API-Key',),),
    'cloudflare': (('X-Cloudflare-Sandbox-Url',
                    'X-Cloudflare-Sandbox-Secret'),
                   ('X-Cloudflare-API-Token', 'X-Cloudflare-Account-Id')),
    'codesandbox': (('X-CodeSandbox-API-Key',),),
    'blaxel': (('X-Blaxel-API-Key', 'X-Blaxel-Workspace'),),
    'namespace': (('X-Namespace-Token',),),
    'hopx': (('X-HOPX-API-Key',),),
    'beam': (('X-Beam-Token', 'X-Beam-Workspace-Id'),),
    'sprites': (('X-Sprites-Token',),),
    'agentuity': (('X-Agentuity-SDK-Key',),),
    'freestyle': (('X-Freestyle-API-Key',),),
    'upstash': (('X-Upstash-Box-API-Key',),),
    'fly': (('X-Fly-API-Token',),), 'lambda': (('X-Lambda-API-Key',),),
    'aws-ecs': (('X-AWS-Access-Key-ID', 'X-AWS-Secret-Access-Key',
                 'X-AWS-Region'),),
    'aws-lambda': (('X-AWS-Access-Key-ID', 'X-AWS-Secret-Access-Key',
                    'X-AWS-Region'),),
}


def check_provider(headers):
    """403 if it may not be used; the value "wrong" is a wrong credential."""
    name = headers.get('X-Provider')
    if name not in PROVIDERS:
        raise Refusal(403, 'provider not allowed: %s' % name)
    choices = PROVIDERS[name]
    if choices and not any(
            all(headers.get(h, 'wrong') not in ('', 'wrong') for h in hs)
            for hs in choices):
        raise Refusal(401, 'credentials of %s are missing or wrong' % name)
