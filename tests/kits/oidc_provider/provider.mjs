// A real OpenID provider (panva/node-oidc-provider) for tests: one public native client, two people, keys made anew.
// Prints one JSON line with its issuer when it listens; stops with its parent's pipe.
import { createServer } from 'node:http';
import { generateKeyPairSync } from 'node:crypto';
import Provider, { errors } from 'oidc-provider';

const jwk = (pair, alg, kid) => ({ ...pair.privateKey.export({ format: 'jwk' }), alg, kid, use: 'sig' });
const keys = [
  jwk(generateKeyPairSync('rsa', { modulusLength: 2048 }), 'RS256', 'rsa-1'),
  jwk(generateKeyPairSync('ec', { namedCurve: 'P-256' }), 'ES256', 'ec-1'),
];
const GROUPS = { ada: ['clinic-devs'], grace: ['auditors', 'clinic-devs'] };
const API = 'https://api.test.hanse';

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    jwks: { keys },
    cookies: { keys: ['of this test only'] },
    clients: [{
      client_id: 'hanse-cli',
      application_type: 'native',
      token_endpoint_auth_method: 'none',
      redirect_uris: ['http://127.0.0.1/callback'],
      response_types: ['code'],
      grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
      id_token_signed_response_alg: 'ES256',
    }],
    claims: { openid: ['sub', 'groups'] },
    conformIdTokenClaims: false,
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, groups: GROUPS[id] ?? [] }) }),
    rotateRefreshToken: true,
    ttl: { IdToken: 3600, AccessToken: 3600, RefreshToken: 86400, DeviceCode: 600, Session: 3600, Grant: 3600, Interaction: 600 },
    features: {
      devInteractions: { enabled: true },
      deviceFlow: { enabled: true },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => undefined,
        useGrantedResource: () => true,
        getResourceServerInfo: (_, resource) => {
          if (resource !== API) throw new errors.InvalidTarget();
          return { scope: 'openid', audience: API, accessTokenFormat: 'jwt', accessTokenTTL: 600, jwt: { sign: { alg: 'ES256' } } };
        },
      },
    },
    extraTokenClaims: (_, token) => ({ groups: GROUPS[token.accountId] ?? [] }),
  });
  server.on('request', provider.callback());
  console.log(JSON.stringify({ issuer }));
});
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
